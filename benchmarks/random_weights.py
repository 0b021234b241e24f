"""Weights of a model that was not trained, for measurements and for comparing a model with its export."""

from __future__ import annotations

import numpy as np

from model.run_directory import Run


def random_weights(run: Run, seed: int) -> None:
    """Gives a run's model random weights, none of them constant: fresh biases are all zero and would hide errors."""
    rng = np.random.default_rng(seed)
    for variable in run.model.trainable_variables:
        variable.assign(rng.normal(0, 0.4, variable.shape))
