"""A run with random weights, for tests that compare a model with its export."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from model.run_directory import Run, new_run
from pipeline.config import Scenario
from tiny_data import write_tiny_data


def random_run(scenario: Scenario, data: Path, seed: int = 5) -> Run:
    """A run with random weights, none of them constant: fresh biases are all zero and would hide errors.

    Args:
        scenario: of the run.
        data: directory that gets the scenario's tiny prepared data.
        seed: of the weights.
    """
    run = new_run(scenario, write_tiny_data(data, scenario, sessions=8).assets(scenario.features))
    rng = np.random.default_rng(seed)
    for variable in run.model.trainable_variables:
        variable.assign(rng.normal(0, 0.4, variable.shape))
    return run
