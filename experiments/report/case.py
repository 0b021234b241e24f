"""Two users with one query and one list of candidates: whose rankings differ, and by which experts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from experiments.report.scorer import Scorer
from pipeline.features import Features

Raw = Mapping[str, np.ndarray]
#: Pairs of sessions that are scored in search of the two.
_MOST_PAIRS = 400
#: Shorter lists say little.
_FEWEST_CANDIDATES = 4


@dataclass(frozen=True)
class Case:
    """Users A and B before A's candidates.

    Attributes:
        sessions: the two rows of the sample.
        raw: two raw sessions: A's own, and A's with the behaviours and user features of B.
        gates: `[2, N, K]`.
        scores: `[2, N, K]`, of the experts.
        held: candidate features set to 0 for both, because they belong to user and candidate together.
        distance: 1 minus the rank correlation of the two rankings: 0 the same, 2 the reverse.
    """

    sessions: tuple[int, int]
    raw: dict[str, np.ndarray]
    gates: np.ndarray
    scores: np.ndarray
    held: tuple[str, ...]
    distance: float

    @property
    def logits(self) -> np.ndarray:
        """`[2, N]`, eq. 9 before the sigmoid."""
        return (self.gates * self.scores).sum(axis=-1)

    @property
    def ranks(self) -> np.ndarray:
        """`[2, N]`, from 1."""
        return np.argsort(np.argsort(-self.logits, axis=1, kind="stable"), axis=1) + 1


@dataclass(frozen=True)
class Difference:
    """The logits of A minus those of B, taken apart; `by_gate + by_score`, summed over experts, is the difference.

        g_A s_A - g_B s_B = (g_A - g_B) (s_A + s_B) / 2 + (g_A + g_B) / 2 (s_A - s_B)

    Attributes:
        by_gate: `[N, K]`: the gate weighs the expert differently.
        by_score: `[N, K]`: the expert scores the candidate differently.
    """

    by_gate: np.ndarray
    by_score: np.ndarray

    def from_mean(self) -> Difference:
        """Without what all candidates have in common, which moves no rank."""
        return Difference(self.by_gate - self.by_gate.mean(axis=0), self.by_score - self.by_score.mean(axis=0))


def difference(gates: np.ndarray, scores: np.ndarray) -> Difference:
    """Takes the difference of two users' logits apart.

    Args:
        gates: `[2, N, K]`.
        scores: `[2, N, K]`.
    """
    gates, scores = gates.astype(np.float64), scores.astype(np.float64)
    return Difference((gates[0] - gates[1]) * scores.mean(axis=0), gates.mean(axis=0) * (scores[0] - scores[1]))


def find_case(scorer: Scorer, features: Features, raw: Raw, seed: int) -> Case | None:
    """The two sessions of a sample with one query whose users rank the first one's candidates most differently.

    Both users have behaviours where there are such pairs; up to `_MOST_PAIRS` are tried.
    None where no two users have one query.
    """
    pairs = _pairs(features, raw, seed)
    if not len(pairs):
        return None
    first, second = pairs.T
    held = tuple(f.name for f in features.candidate_features if f.as_of and f.as_of.measure == "bought_with")
    # A record says how often a candidate was bought with its own user's items, not with another's.
    lists = {name: np.zeros_like(raw[name]) if name in held else raw[name] for name in raw}
    own = {name: values[first] for name, values in lists.items()}
    of_user = [f.name for f in (*features.behavior_features, *features.user_features)]
    swapped = {**own, **{name: lists[name][second] for name in (*of_user, "behavior_count")}}
    parts = [scorer.parts(scorer.encode(sessions)) for sessions in (own, swapped)]
    counts = own["candidate_count"]
    logits = [(part.gates * part.scores).sum(axis=-1) for part in parts]
    distances = np.array([_distance(logits[0][row, :n], logits[1][row, :n]) for row, n in enumerate(counts)])
    best = int(distances.argmax())
    n = int(counts[best])
    return Case(
        sessions=(int(first[best]), int(second[best])),
        raw={name: np.stack([own[name][best], swapped[name][best]]) for name in own},
        gates=np.stack([part.gates[best, :n] for part in parts]),
        scores=np.stack([part.scores[best, :n] for part in parts]),
        held=held,
        distance=float(distances[best]),
    )


def _pairs(features: Features, raw: Raw, seed: int) -> np.ndarray:
    """Rows of two sessions `[P, 2]`, of one query and different users, in random order."""
    rng = np.random.default_rng(seed)
    by_query: dict[tuple[object, ...], list[int]] = {}
    for row in rng.permutation(len(raw["candidate_count"])):
        query = tuple(raw[f.name][row] for f in features.query_features)
        # NaN, a missing number, is the same query as another NaN
        by_query.setdefault(tuple("" if value != value else value for value in query), []).append(int(row))
    found = [
        (a, b)
        for rows in by_query.values()
        # neighbours in random order: every session has a part, and a frequent query does not take all pairs
        for a, b in zip(rows, rows[1:] + rows[:1], strict=True)
        if raw["user_id"][a] != raw["user_id"][b] and raw["candidate_count"][a] >= _FEWEST_CANDIDATES
    ]
    old = [(a, b) for a, b in found if raw["behavior_count"][a] and raw["behavior_count"][b]]
    return np.array(rng.permutation(np.array(old or found, np.int64).reshape(-1, 2))[:_MOST_PAIRS])


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    """1 - Spearman's correlation; 0 where one ranks nothing."""
    a, b = rankdata(a), rankdata(b)
    return 0.0 if np.ptp(a) == 0 or np.ptp(b) == 0 else float(1 - np.corrcoef(a, b)[0, 1])
