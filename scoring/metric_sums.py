"""Means of session metrics from batches of scored sessions, wherever they are computed."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from model.session_metrics import SESSION_METRICS
from model.session_values import session_numbers, session_values


def metric_sums(scores: pa.Table) -> np.ndarray:
    """Of each metric of `SESSION_METRICS`: its sum over the sessions that have it, and their number, `[5, 2]`.

    Args:
        scores: rows of whole sessions, with `session_id`, `label` and `score`.
    """
    values = session_values(scores, session_numbers(scores))
    return np.array([[np.nansum(values[name]), np.isfinite(values[name]).sum()] for name in SESSION_METRICS])


def add_sums(sums: Iterable[np.ndarray]) -> np.ndarray:
    """Of several batches together; zeros for none."""
    return np.sum([np.zeros([len(SESSION_METRICS), 2]), *sums], axis=0)


def metric_means(sums: np.ndarray) -> dict[str, float | None]:
    """`sessions`, how many have both classes, and the mean of each metric; None where no session has it."""
    means = {name: float(total / count) if count else None for name, (total, count) in _by_name(sums)}
    return {"sessions": int(sums[SESSION_METRICS.index("auc"), 1]), **means}


def _by_name(sums: np.ndarray) -> Iterable[tuple[str, np.ndarray]]:
    return zip(SESSION_METRICS, sums, strict=True)
