"""A model of a scenario file with random weights and vocabularies: what a benchmark of speed runs, without data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.random_assets import random_assets
from benchmarks.random_weights import random_weights
from model.run_directory import Run, new_run
from pipeline.config import load_scenario

_ROOT = Path(__file__).parent.parent


def random_model(directory: Path, overrides: Sequence[str] = (), *, rows: int = 20_000, seed: int = 1) -> Run:
    """The model of configs/search.yaml.

    Args:
        directory: gets its vocabularies and statistics.
        overrides: `key=value` over the file.
        rows: values of each vocabulary.
        seed: of the weights.
    """
    scenario = load_scenario(_ROOT / "configs/search.yaml", overrides)
    run = new_run(scenario, random_assets(directory, scenario.features, rows))
    random_weights(run, seed)
    return run
