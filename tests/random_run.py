"""A run with random weights, for tests that compare a model with its export."""

from __future__ import annotations

from pathlib import Path

from benchmarks.random_weights import random_weights
from model.run_directory import Run, new_run
from pipeline.config import Scenario
from tiny_data import write_tiny_data


def random_run(scenario: Scenario, data: Path, seed: int = 5) -> Run:
    """A run with random weights.

    Args:
        scenario: of the run.
        data: directory that gets the scenario's tiny prepared data.
        seed: of the weights.
    """
    run = new_run(scenario, write_tiny_data(data, scenario, sessions=8).assets(scenario.features))
    random_weights(run.model, seed)
    return run
