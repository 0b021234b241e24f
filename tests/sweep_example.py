"""A sweep of two values of each of two parameters, as `awmoe sweep` would have found it."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.comparison import Summary
from experiments.sweep_result import Best, Point, Sweep

#: The mean of the metric on the long-tail part at each value.
MEANS = (0.7, 0.72)


def sweep_of(validation: Sequence[float], p: float | None = 0.2) -> Sweep:
    """A sweep whose own setting is the first value of both parameters; the second value has the better test metric.

    Args:
        validation: session AUC of both values.
        p: of the second value.
    """
    full = Summary(0.75, 0.01)

    def points(values: Sequence[float]) -> list[Point]:
        return [
            Point(value, mean, 0.01, full, Summary(auc, 0.01), found)
            for value, mean, auc, found in zip(values, MEANS, validation, (None, p), strict=True)
        ]

    own = {"weight": 0.05, "negatives": 3.0}
    best = Best(own, Summary(max(validation), 0.01), Summary(MEANS[0], 0.01), full, None)
    parameters = {"weight": points([0.05, 0.1]), "negatives": points([3, 5])}
    return Sweep("auc_at_10", "few_behaviors", (1, 2), own, parameters, best, 0)
