"""One model trained with each value of one option, all else equal: `awmoe gates`, `awmoe losses`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from experiments.comparison import Comparison
from experiments.experiment import experiment
from experiments.vary import vary, with_model
from pipeline.config import Gate, Scenario, Training
from pipeline.prepared_data import PreparedData

Kind = Literal["gates", "losses"]
#: By kind the option and its values, what a table begins with first.
OPTIONS: dict[Kind, tuple[str, tuple[str, ...]]] = {
    # eq. 8 as it is, then those made to start near 1/K
    "gates": ("model.gate.form", tuple(reversed(get_args(Gate.model_fields["form"].annotation)))),
    # the paper's loss, then those that look at a session's candidates together
    "losses": ("training.loss", get_args(Training.model_fields["loss"].annotation)),
}


def each_value(
    kind: Kind,
    scenario: Scenario,
    data: PreparedData,
    output: Path,
    *,
    seeds: int = 5,
    jobs: int = 1,
    truth: Path | None = None,
) -> Comparison:
    """Trains the scenario's model, or for `gates` AW-MoE without the contrastive loss, with each value.

    Args:
        kind: which option, of `OPTIONS`.
        scenario: its option is replaced; for `gates` its `model.name` too.
        data: to train and test on.
        output: the experiment's directory.
        seeds: how many.
        jobs: trials at the same time.
        truth: as of `compare`.

    Raises:
        InputError: as of `experiment`.
    """
    option, values = OPTIONS[kind]
    whole = with_model(scenario, "aw_moe") if kind == "gates" else scenario
    scenarios = {value: vary(whole, {option: value}) for value in values}
    return experiment(scenarios, data, output, kind=kind, seeds=seeds, jobs=jobs, truth=truth)
