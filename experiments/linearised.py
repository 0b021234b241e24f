"""Session values of a metric that some sessions lack."""

from __future__ import annotations

import numpy as np


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
