"""Weights of a model that was not trained, for measurements and for comparing a model with its export."""

from __future__ import annotations

import numpy as np

from model.ranker import Ranker


def random_weights(model: Ranker, seed: int) -> None:
    """Gives a model random weights, none of them constant: fresh biases are all zero and would hide errors."""
    rng = np.random.default_rng(seed)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(0, 0.4, variable.shape))
