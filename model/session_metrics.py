"""Ranking metrics of every session at once, in NumPy."""

from __future__ import annotations

import numpy as np

#: The paper's metrics, in the order in which tables show them.
PAPER_METRICS = ("auc", "auc_at_10", "ndcg", "ndcg_at_10")
SESSION_METRICS = (*PAPER_METRICS, "mrr")
CUTOFF = 10


def session_metrics(sessions: np.ndarray, labels: np.ndarray, scores: np.ndarray) -> dict[str, np.ndarray]:
    """AUC, AUC@10, NDCG, NDCG@10 and reciprocal rank of every session; NaN where a metric is not defined.

    A session counts where it has both classes.

    - `auc`: share of (positive, negative) pairs that are in the right order; ties count one half.
    - `auc_at_10`: the same among the session's ten best-scored items; NaN where those are all
      of one class. Of items with equal scores at the cut, the earlier in the input is taken:
      give candidates in an order that does not depend on the label.
    - `ndcg`: `sum_r label_r / log2(1 + r)` over ranks `r = 1, 2, ...`, divided by the same of
      the best order. Items with equal scores share the mean of their discounts, as if in
      random order.
    - `ndcg_at_10`: both sums over the first ten ranks.
    - `mrr`: 1 / rank of the best positive; where items tie with it, what is expected in random order.

    Args:
        sessions: int `[M]`, which session an item belongs to, `0 .. S-1`.
        labels: `[M]`, 0 or 1.
        scores: `[M]`, the higher the better.

    Returns:
        Arrays `[S]` by the names in `SESSION_METRICS`.
    """
    count = int(sessions.max()) + 1 if len(sessions) else 0
    # Best first within each session; stable, so that equal scores keep the input's order.
    order = np.lexsort((-scores, sessions))
    sessions, labels, scores = sessions[order], labels[order].astype(np.float64), scores[order]
    starts = np.searchsorted(sessions, np.arange(count))
    ranks = np.arange(len(sessions)) - starts[sessions]
    top = ranks < CUTOFF

    discounts = 1 / np.log2(2 + ranks)
    groups = _tie_groups(sessions, scores)
    expected_labels = (np.bincount(groups, labels) / np.bincount(groups))[groups] if len(groups) else labels
    positives = np.bincount(sessions, labels, minlength=count).astype(np.int64)
    both = (positives > 0) & (positives < np.bincount(sessions, minlength=count))

    def ndcg(kept: np.ndarray, cutoff: int) -> np.ndarray:
        gained = np.bincount(sessions, expected_labels * discounts * kept, minlength=count)
        best = np.concatenate([[0.0], np.cumsum(1 / np.log2(2 + np.arange(max(cutoff, 1))))])
        return np.divide(gained, best[np.minimum(positives, cutoff)], where=both, out=np.full(count, np.nan))

    return {
        "auc": _auc(sessions, labels, scores, count),
        "auc_at_10": _auc(sessions[top], labels[top], scores[top], count),
        "ndcg": ndcg(np.ones_like(top), int(positives.max(initial=1))),
        "ndcg_at_10": ndcg(top, CUTOFF),
        "mrr": np.where(both, _reciprocal_rank(sessions, labels, groups, count), np.nan),
    }


def _reciprocal_rank(sessions: np.ndarray, labels: np.ndarray, groups: np.ndarray, count: int) -> np.ndarray:
    """Of items sorted by session, then by falling score; 0 where a session has no positive."""
    positives, negatives = np.bincount(groups, labels), np.bincount(groups, 1 - labels)
    session = sessions[np.flatnonzero(np.diff(groups, prepend=-1))]
    # Only negatives stand above the best positive.
    above = np.cumsum(negatives) - negatives
    above -= above[np.searchsorted(session, session)]
    having = np.flatnonzero(positives > 0)
    with_positive, first = np.unique(session[having], return_index=True)
    tied = having[first]
    result = np.zeros(count)
    result[with_positive] = _expected_reciprocal(above[tied], positives[tied], negatives[tied])
    return result


def _expected_reciprocal(above: np.ndarray, positives: np.ndarray, negatives: np.ndarray) -> np.ndarray:
    """Mean over random orders of 1 / rank of the first of `positives` among `negatives`, below `above` others."""
    expected = np.zeros(len(above))
    left, chance = negatives.copy(), np.ones(len(above))  # that all so far were negatives
    for drawn in range(int(negatives.max(initial=0)) + 1):
        total = np.maximum(left + positives, 1)
        expected += chance * positives / total / (1 + above + drawn)
        chance *= left / total
        left = np.maximum(left - 1, 0)
    return expected


def _auc(sessions: np.ndarray, labels: np.ndarray, scores: np.ndarray, count: int) -> np.ndarray:
    """AUC of items sorted by session, then by falling score: the Mann-Whitney statistic.

    A positive beats the negatives after its tie group, and half of those within.
    """
    groups = _tie_groups(sessions, scores)
    positives = np.bincount(groups, labels)
    negatives = np.bincount(groups, 1 - labels)
    session = sessions[np.flatnonzero(np.diff(groups, prepend=-1))]
    all_negatives = np.bincount(session, negatives, minlength=count)
    before = np.cumsum(negatives) - negatives
    first_group = np.searchsorted(session, session)
    after = all_negatives[session] - (before - before[first_group]) - negatives
    won = np.bincount(session, positives * (after + negatives / 2), minlength=count)
    pairs = all_negatives * np.bincount(session, positives, minlength=count)
    return np.divide(won, pairs, where=pairs > 0, out=np.full(count, np.nan))


def _tie_groups(sessions: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Numbers from 0 the runs of one session and one score in sorted items."""
    new = (np.diff(sessions, prepend=-1) != 0) | np.concatenate([[True], scores[1:] != scores[:-1]])[: len(scores)]
    return np.cumsum(new) - 1
