"""Session metrics of trained models, aligned by session."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from model.session_metrics import session_metrics

#: Metrics by name, each an array over sessions.
Values = dict[str, np.ndarray]


def session_numbers(candidates: pa.Table) -> np.ndarray:
    """The session of each row, numbered from 0 in the order in which they come, `[M]`."""
    numbers: np.ndarray = candidates["session_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    return numbers


def session_values(candidates: pa.Table, sessions: np.ndarray, column: str = "score") -> Values:
    """The metrics of every session for the ranking by a column, NaN where one is not defined.

    Args:
        candidates: as `model.predict.predict` gives them.
        sessions: as `session_numbers`.
        column: a missing value ranks last.
    """
    scores = candidates[column].to_numpy().astype(np.float64)
    return session_metrics(sessions, candidates["label"].to_numpy(), np.where(np.isnan(scores), -np.inf, scores))


def linearised(values: np.ndarray) -> np.ndarray:
    """Values `[..., n]` that are all finite, with the mean and the sampling error of those that were.

        z_i = m + d_i (y_i - m) / share(d),   d_i whether y_i is finite, m their mean

    A model's mean is a ratio, of a sum over the sessions that have the metric and their number.
    AUC@10 is of that kind: it is not defined where the ten best are of one class, which depends
    on the model. So `mean(z)` is the mean that `awmoe evaluate` reports, and the variance of
    `z` is the linearised one of that ratio, which lets models be compared in pairs although they
    miss the metric in different sessions. Where all are finite, z is y.
    """
    finite = np.isfinite(values)
    share = finite.mean(axis=-1, keepdims=True)
    mean = np.nanmean(values, axis=-1, keepdims=True)
    return mean + np.where(finite, values - mean, 0) / share
