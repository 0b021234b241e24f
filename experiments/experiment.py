"""What the commands of experiments share: trials of several seeds, run, compared, written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from experiments.compare_trials import compare_trials
from experiments.comparison import Comparison
from experiments.equal_size import dense_parameters, equal_size
from experiments.run_trials import run_trials
from experiments.trial import Trial
from experiments.vary import vary
from pipeline.config import Scenario
from pipeline.errors import InputError
from pipeline.prepared_data import PreparedData

#: `equal`: experts as wide as gives all models one number of dense weights; `config`: as the scenario says.
Size = Literal["equal", "config"]


def experiment(
    scenarios: Mapping[str, Scenario],
    data: PreparedData,
    output: Path,
    *,
    kind: str,
    seeds: int,
    jobs: int = 1,
    truth: Path | None = None,
    reference: Scenario | None = None,
) -> Comparison:
    """Trains each scenario with the seeds 1, 2, ..., and compares what they made.

    Args:
        scenarios: by label, in the order of tables.
        data: to train and test on.
        output: the experiment's directory; gets `trials/` and `comparison.json`.
        kind: as of `Comparison`.
        seeds: how many.
        jobs: trials at the same time.
        truth: as of `compare_trials`.
        reference: all models get as many dense weights as this one's; None leaves their sizes.

    Raises:
        InputError: there is no truth file, or as of `equal_size`, `run_trials` and `compare_trials`.
    """
    if truth is not None and not truth.is_file():
        raise InputError(f"{truth}: no such file")
    if reference is not None:
        assets = data.assets(reference.features)
        parameters = dense_parameters(reference, assets)
        scenarios = {label: equal_size(scenario, assets, parameters) for label, scenario in scenarios.items()}
    trials = [
        Trial(label, vary(scenario, {"training.seed": seed}))
        # by seed: stopped early, all labels have some
        for seed in range(1, seeds + 1)
        for label, scenario in scenarios.items()
    ]
    results = run_trials(trials, data, output, jobs=jobs)
    comparison = compare_trials(results, list(scenarios), kind=kind, truth=truth)
    comparison.write(output)
    return comparison
