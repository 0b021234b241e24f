"""Tables II to IV: the five models, in full and for the long tail."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from experiments.comparison import Comparison
from experiments.experiment import Size, experiment
from experiments.vary import with_model
from pipeline.config import ModelName, Scenario
from pipeline.errors import InputError
from pipeline.prepared_data import PreparedData

MODELS: tuple[ModelName, ...] = get_args(ModelName)
#: Whose size the others get.
REFERENCE: ModelName = "aw_moe_cl"


def compare(
    scenario: Scenario,
    data: PreparedData,
    output: Path,
    *,
    models: Sequence[ModelName] = MODELS,
    seeds: int = 5,
    size: Size = "equal",
    jobs: int = 1,
    truth: Path | None = None,
) -> Comparison:
    """Trains models of one scenario with several seeds and compares them.

    Args:
        scenario: features and sizes; its `model.name` is replaced.
        data: to train and test on.
        output: the experiment's directory.
        models: in the order of tables, a baseline first.
        seeds: how many.
        size: `equal` widens or narrows the experts of each to the dense weights of AW-MoE & CL.
        jobs: trials at the same time.
        truth: Parquet file of true purchase probabilities, as of `awmoe evaluate`.

    Raises:
        InputError: a model is unknown, named twice or does not go with the scenario, or as of `experiment`.
    """
    if unknown := [name for name in models if name not in MODELS]:
        raise InputError(f"models: `{unknown[0]}` is none; there are {', '.join(MODELS)}")
    if len(set(models)) < len(models):
        raise InputError(f"models: {', '.join(models)}: one is named twice")
    return experiment(
        {name: with_model(scenario, name) for name in models},
        data,
        output,
        kind="compare",
        seeds=seeds,
        jobs=jobs,
        truth=truth,
        reference=with_model(scenario, REFERENCE) if size == "equal" else None,
    )
