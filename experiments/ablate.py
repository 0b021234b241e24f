"""Table VI: AW-MoE's gate without and with its two units."""

from __future__ import annotations

from pathlib import Path

from experiments.comparison import Comparison
from experiments.experiment import Size, experiment
from experiments.vary import vary, with_model
from pipeline.config import Scenario
from pipeline.prepared_data import PreparedData

#: Whether the gate has a gate unit (eq. 7), and an activation unit (eq. 8), by label.
ABLATIONS = {
    "base": (False, False),
    "gate_unit": (True, False),
    "activation_unit": (False, True),
    "both": (True, True),
}


def ablate(
    scenario: Scenario,
    data: PreparedData,
    output: Path,
    *,
    seeds: int = 5,
    size: Size = "equal",
    jobs: int = 1,
    truth: Path | None = None,
) -> Comparison:
    """Trains AW-MoE, without the contrastive loss, with each choice of units.

    Args:
        scenario: its `model.name` and the two options are replaced.
        data: to train and test on.
        output: the experiment's directory.
        seeds: how many.
        size: `equal` makes the experts wider where the gate has fewer weights than with both units.
        jobs: trials at the same time.
        truth: as of `compare`.

    Raises:
        InputError: as of `experiment`.
    """
    whole = with_model(scenario, "aw_moe")
    scenarios = {
        label: vary(whole, {"model.gate.gate_unit": gate_unit, "model.gate.activation_unit": activation_unit})
        for label, (gate_unit, activation_unit) in ABLATIONS.items()
    }
    reference = scenarios["both"] if size == "equal" else None
    return experiment(scenarios, data, output, kind="ablate", seeds=seeds, jobs=jobs, truth=truth, reference=reference)
