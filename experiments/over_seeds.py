"""One number a seed to its mean and spread."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from experiments.comparison import Summary


def over_seeds(values: Sequence[float | None]) -> Summary:
    """Mean and standard deviation (n - 1) over seeds; neither where a seed lacks the number."""
    known = np.array([value for value in values if value is not None])
    if not len(known) or len(known) < len(values):
        return Summary(None)
    return Summary(float(known.mean()), float(known.std(ddof=1)) if len(known) > 1 else None)
