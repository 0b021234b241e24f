"""Figure 2: which features matter to users new and old to a category, by permutation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from experiments.report.figure import Drawing, draw, reference_line
from experiments.report.palette import series
from experiments.report.shortened import shortened
from experiments.report.user_groups import Groups
from model.session_metrics import session_metrics
from pipeline.features import Features

Encoded = Mapping[str, np.ndarray]
#: Two-sided: of the user and the candidate together.
KINDS = ("of the candidate", "of user and candidate together", "of the session")
_INTERVAL = 1.96
_MOST_ROWS = 20


@dataclass(frozen=True)
class Shuffled:
    """What is permuted as one feature.

    Attributes:
        name: as figures name it.
        kind: one of `KINDS`.
        keys: encoded tensors that move together.
        listed: whether each candidate gets another candidate's values; else a session another's.
    """

    name: str
    kind: str
    keys: tuple[str, ...]
    listed: bool


@dataclass(frozen=True)
class Importance:
    """How much session AUC a group of users loses without a feature.

    Attributes:
        drop: mean over sessions and repeats.
        error: half the width of its 95% interval over sessions.
    """

    feature: Shuffled
    group: str
    drop: float
    error: float


def shuffled_features(features: Features, keys: Encoded) -> list[Shuffled]:
    """What there is to permute in encoded sessions.

    A cross feature follows from a fingerprint or logarithm that a candidate's value has beside
    its encoding; so it is permuted without the value's own embedding, and the other way round.
    """
    found = []
    for feature in features.candidate_features:
        own = tuple(key for key in (feature.name, f"{feature.name}/missing") if key in keys)
        both = feature.as_of is not None and feature.as_of.measure == "bought_with"
        found.append(Shuffled(_words(feature.field), KINDS[1 if both else 0], own, True))
    by_key: dict[str, list[str]] = {}
    for name, cross in features.cross.items():
        by_key.setdefault(f"candidate_{cross.field}/{_CROSS[cross.kind]}", []).append(_words(name))
    found += [Shuffled(", ".join(names), KINDS[1], (key,), True) for key, names in by_key.items()]
    behaviors = tuple(key for key in keys if key.startswith("behavior_"))
    found.append(Shuffled("all behaviours", KINDS[2], behaviors, False))
    for feature in features.query_features + features.user_features:
        own = tuple(key for key in (feature.name, f"{feature.name}/missing") if key in keys)
        found.append(Shuffled(f"{feature.group}: {_words(feature.field)}", KINDS[2], own, False))
    return found


_CROSS = {"match": "fingerprint", "ratio": "log"}


def feature_importance(
    score: Callable[[Encoded], np.ndarray],
    encoded: Encoded,
    labels: np.ndarray,
    features: list[Shuffled],
    groups: Groups,
    *,
    repeats: int,
    seed: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Importance]:
    """The drop of session AUC when a feature's values are dealt out anew over the sample.

    Args:
        score: logits `[B, N]` of encoded sessions.
        encoded: what `Preprocessing` gives, of B sessions.
        labels: `[B, N]`.
        groups: masks `[B]`; values are dealt out over all of them together.
        repeats: permutations a feature; their mean is taken session by session.
        progress: told how many features are done, of how many.
    """
    rng = np.random.default_rng(seed)
    real = np.arange(labels.shape[1]) < encoded["candidate_count"][:, np.newaxis]
    before = _session_auc(score(encoded), labels, real)
    result = []
    for done, feature in enumerate(features):
        after = [
            _session_auc(score({**encoded, **_permuted(encoded, feature, real, rng)}), labels, real)
            for _ in range(repeats)
        ]
        drops = before - np.mean(after, axis=0)
        for group, mask in groups.items():
            counted = drops[mask & np.isfinite(drops)]
            if len(counted) > 1:
                error = _INTERVAL * counted.std(ddof=1) / len(counted) ** 0.5
                result.append(Importance(feature, group, float(counted.mean()), float(error)))
        progress(done + 1, len(features))
    return result


def draw_feature_importance(importances: list[Importance], groups: Groups, label: str) -> Drawing:
    """The figure: a panel a kind of feature, a point a group of users."""
    names = [name for name in groups if any(i.group == name for i in importances)]
    title = f"Figure 2: feature importance for users {' and '.join(groups)} ({label})"
    if not names:
        instead = "No sampled session of either group has both a bought item and one that was not."
        return Drawing("feature-importance", title, "", instead=instead)
    panels = {kind: _rows(importances, kind) for kind in KINDS}
    panels = {kind: rows for kind, rows in panels.items() if rows}
    count = sum(map(len, panels.values()))

    def paint(figure: Figure) -> None:
        heights = [len(rows) + 0.6 for rows in panels.values()]
        axes_of = figure.subplots(len(panels), 1, sharex=True, height_ratios=heights, squeeze=False)[:, 0]
        for axes, (kind, rows) in zip(axes_of, panels.items(), strict=True):
            reference_line(axes, x=0)
            for index, group in enumerate(names):
                shown = [(y, i) for y, row in enumerate(rows) for i in row if i.group == group]
                axes.errorbar(
                    [i.drop for _, i in shown],
                    [y + (index - (len(names) - 1) / 2) * 0.34 for y, _ in shown],
                    xerr=[i.error for _, i in shown],
                    fmt="os"[index % 2],
                    color=series(index),
                    markersize=5,
                    elinewidth=1.4,
                    label=f"{group} ({int(groups[group].sum()):,} sessions)",
                )
            axes.set_yticks(range(len(rows)), [shortened(row[0].feature.name, 22) for row in rows])
            axes.set_ylim(len(rows) - 0.4, -0.6)
            axes.grid(axis="y", visible=False)
            axes.set_title(kind)
        axes_of[-1].set_xlabel("drop of session AUC when permuted")
        figure.legend(*axes_of[0].get_legend_handles_labels(), loc="outside upper left", ncols=1)

    strongest = {group: max((i for i in importances if i.group == group), key=lambda i: i.drop) for group in names}
    words = "; ".join(f"{group}: {i.feature.name} ({i.drop:+.3f})" for group, i in strongest.items())
    return Drawing(
        name="feature-importance",
        title=title,
        caption=f"The further right, the more the ranking rests on the feature. Strongest for users {words}. "
        "Bars are 95% intervals over sessions. A candidate's value and what it has in common with the "
        "behaviours (same brand, price ratio) are permuted apart.",
        paper="popularity (sales, price) matters more to users new to a category, features of user and item "
        "together more to old ones.",
        description=f"Points with error bars for {count} features; the strongest for users {words}.",
        svg=draw("feature-importance", 90 + 23 * count + 26 * len(panels), paint),
    )


def _session_auc(logits: np.ndarray, labels: np.ndarray, real: np.ndarray) -> np.ndarray:
    """`[B]`; NaN where a session is of one class."""
    sessions = np.nonzero(real)[0]
    auc = session_metrics(sessions, labels[real] > 0.5, logits[real])["auc"]
    return np.pad(auc, (0, len(labels) - len(auc)), constant_values=np.nan)


def _permuted(encoded: Encoded, feature: Shuffled, real: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    if not feature.listed:
        order = rng.permutation(len(real))
        return {key: encoded[key][order] for key in feature.keys}
    order = rng.permutation(int(real.sum()))
    result = {key: encoded[key].copy() for key in feature.keys}
    for values in result.values():
        values[real] = values[real][order]
    return result


def _rows(importances: list[Importance], kind: str) -> list[list[Importance]]:
    """A row a feature, those that matter most first."""
    by_feature: dict[str, list[Importance]] = {}
    for importance in importances:
        if importance.feature.kind == kind:
            by_feature.setdefault(importance.feature.name, []).append(importance)
    return sorted(by_feature.values(), key=lambda row: -max(i.drop for i in row))[:_MOST_ROWS]


def _words(name: str) -> str:
    return name.replace("_", " ")
