"""How the distribution of a number changed."""

from __future__ import annotations

import numpy as np
from tensorflow_metadata.proto.v0 import statistics_pb2

#: Bins in which two distributions are compared, of about equal weight in both together.
_BINS = 20


def number_drift(old: statistics_pb2.NumericStatistics, new: statistics_pb2.NumericStatistics) -> float:
    """The Jensen-Shannon divergence of two numbers' distributions, to base 2: 0 for the same, 1 for disjoint.

    `JS = (KL(p, m) + KL(q, m)) / 2` with `m = (p + q) / 2`, over bins between quantiles of `m`. Where an
    edge falls into a bucket of one histogram, its values are taken as spread evenly over the bucket; a
    number with few values has none such, and the result is exact.

    1 if only one of them has values, 0 if none has.
    """
    histograms = [_buckets(statistics) for statistics in (old, new)]
    if not all(len(shares) for _, _, shares in histograms):
        return float(any(len(shares) for _, _, shares in histograms))
    points = np.unique(np.concatenate([high for _, high, _ in histograms]))
    until = np.stack([_share_until(points, *histogram) for histogram in histograms])
    middle = until.mean(axis=0)
    # a sum of shares may miss a quantile by its last bits
    edges = np.unique(np.searchsorted(middle, np.arange(1, _BINS) / _BINS - 1e-9))
    p, q = np.maximum(np.diff(until[:, edges], axis=1, prepend=0.0, append=1.0), 0.0)
    m = (p + q) / 2
    return float(max(0.0, (_divergence(p, m) + _divergence(q, m)) / 2))


def _buckets(statistics: statistics_pb2.NumericStatistics) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Low and high values, both inclusive, and shares of the histogram that `data_statistics` writes."""
    buckets = statistics.histograms[0].buckets if statistics.histograms else ()
    low, high, count = np.array([(b.low_value, b.high_value, b.sample_count) for b in buckets]).reshape(-1, 3).T
    return low, high, count / count.sum() if len(count) else count


def _share_until(points: np.ndarray, low: np.ndarray, high: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """The share of values at or below each of the points."""
    width = np.where(high > low, high - low, 1.0)
    within = np.where(points[:, None] >= high, 1.0, np.clip((points[:, None] - low) / width, 0.0, 1.0))
    return np.minimum(within @ shares, 1.0)


def _divergence(p: np.ndarray, m: np.ndarray) -> float:
    """Kullback-Leibler; `m` is above 0 wherever `p` is."""
    there = p > 0
    return float((p[there] * np.log2(p[there] / m[there])).sum())
