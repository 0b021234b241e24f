"""The forms of AW-MoE's gate: eq. 8 as it is, and those made to start near 1/K."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

from experiments.comparison import Comparison
from experiments.experiment import experiment
from experiments.vary import vary, with_model
from pipeline.config import Gate, Scenario
from pipeline.prepared_data import PreparedData

FORMS: tuple[Any, ...] = tuple(reversed(get_args(Gate.model_fields["form"].annotation)))


def gates(
    scenario: Scenario, data: PreparedData, output: Path, *, seeds: int = 5, jobs: int = 1, truth: Path | None = None
) -> Comparison:
    """Trains AW-MoE, without the contrastive loss, with each `model.gate.form`; their sizes are equal.

    Args:
        scenario: its `model.name` and the form are replaced.
        data: to train and test on.
        output: the experiment's directory.
        seeds: how many.
        jobs: trials at the same time.
        truth: as of `compare`.

    Raises:
        InputError: as of `experiment`.
    """
    whole = with_model(scenario, "aw_moe")
    scenarios = {form: vary(whole, {"model.gate.form": form}) for form in FORMS}
    return experiment(scenarios, data, output, kind="gates", seeds=seeds, jobs=jobs, truth=truth)
