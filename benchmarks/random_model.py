"""A model of a scenario file with random weights and vocabularies: what a benchmark of speed runs, without data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.random_assets import random_assets
from benchmarks.random_weights import random_weights
from model.run_directory import Run, new_run
from pipeline.scenario_file import load_scenario

SEARCH = Path(__file__).parent.parent / "configs/search.yaml"


def random_model(
    directory: Path, overrides: Sequence[str] = (), *, config: Path = SEARCH, rows: int = 20_000, seed: int = 1
) -> Run:
    """The model of a scenario file.

    Args:
        directory: gets its vocabularies and statistics.
        overrides: `key=value` over the file.
        config: the file.
        rows: values of each vocabulary.
        seed: of the weights.
    """
    scenario = load_scenario(config, overrides)
    run = new_run(scenario, random_assets(directory, scenario.features, rows))
    random_weights(run.model, seed)
    return run
