"""A model of a scenario file with random weights and vocabularies: what a benchmark of speed runs, without data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from model.run_directory import Run, new_run
from pipeline.config import Scenario, load_scenario
from pipeline.encoding_assets import STATISTICS, VOCABULARIES, EncodingAssets, NumericStatistics, dump_statistics
from pipeline.features import Numeric

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
    run = new_run(scenario, _assets(scenario, directory, rows))
    rng = np.random.default_rng(seed)
    for variable in run.model.trainable_variables:
        variable.assign(rng.normal(0, 0.1, variable.shape))
    return run


def _assets(scenario: Scenario, directory: Path, rows: int) -> EncodingAssets:
    (directory / VOCABULARIES).mkdir(parents=True, exist_ok=True)
    for name in scenario.features.tables:
        lines = "".join(f"{name}_{row}\n" for row in range(rows))
        (directory / VOCABULARIES / f"{name}.txt").write_text(lines, encoding="utf-8")
    numbers = {f.statistic for f in scenario.features.encoded if isinstance(f.declaration, Numeric)}
    statistics = {name: NumericStatistics(mean=1.0, std=1.0) for name in numbers}
    (directory / STATISTICS).write_text(dump_statistics(statistics), encoding="utf-8")
    return EncodingAssets.load(directory, scenario.features)
