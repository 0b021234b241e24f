"""The paper's pointwise loss beside two that look at a session's candidates together."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

from experiments.comparison import Comparison
from experiments.experiment import experiment
from experiments.vary import vary
from pipeline.config import Scenario, Training
from pipeline.prepared_data import PreparedData

LOSSES: tuple[Any, ...] = get_args(Training.model_fields["loss"].annotation)


def losses(
    scenario: Scenario, data: PreparedData, output: Path, *, seeds: int = 5, jobs: int = 1, truth: Path | None = None
) -> Comparison:
    """Trains the scenario's model with each `training.loss`, all else equal.

    Args:
        scenario: its loss is replaced.
        data: to train and test on.
        output: the experiment's directory.
        seeds: how many.
        jobs: trials at the same time.
        truth: as of `compare`.

    Raises:
        InputError: as of `experiment`.
    """
    scenarios = {loss: vary(scenario, {"training.loss": loss}) for loss in LOSSES}
    return experiment(scenarios, data, output, kind="losses", seeds=seeds, jobs=jobs, truth=truth)
