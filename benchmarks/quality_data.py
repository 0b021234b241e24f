"""The data sets of `python -m benchmarks.quality`, made from raw files."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from pipeline.config import Scenario
from pipeline.days import DateRange
from pipeline.errors import InputError
from pipeline.prepared_data import MANIFEST, PreparedData
from pipeline.run import preprocess
from pipeline.scenario_file import load_scenario
from pipeline.simulate import TRUTH, simulate

_ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class QualityData:
    """A data set, prepared.

    Attributes:
        name: in the result.
        scenario: that it was prepared with.
        data: the prepared data.
        truth: of a simulated log, the true probabilities.
    """

    name: str
    scenario: Scenario
    data: PreparedData
    truth: Path | None = None


@dataclass(frozen=True)
class _Source:
    """Where a data set comes from; `users` of a simulated log, else a `directory` of raw files.

    The small variant (`--fast`) has fewer users or the given days alone, and trains one epoch.
    """

    config: str
    directory: str | None = None
    users: int = 0
    fast_users: int = 0
    fast_days: str | None = None


_SOURCES = {
    "simulated": _Source("configs/search.yaml", users=20_000, fast_users=3_000),
    "amazon_search": _Source(
        "configs/amazon_search.yaml", directory="amazon2014_beauty", fast_days="2014-05-01:2014-07-31"
    ),
    "trivago": _Source("configs/trivago.yaml", directory="trivago_2019_slice"),
}
DATASETS = tuple(_SOURCES)
_FAST = ("model.experts.layers=[64, 32]", "training.epochs=1")


def quality_data(name: str, raw: Path, output: Path, *, fast: bool) -> QualityData:
    """Prepares a data set, or opens what was prepared before.

    Args:
        name: one of `DATASETS`.
        raw: directory with the raw files of Amazon and trivago.
        output: gets `log/` of a simulated log and `prepared/`.
        fast: the small variant.

    Raises:
        InputError: the raw files are not there.
    """
    source = _SOURCES[name]
    days = DateRange.parse(source.fast_days) if fast and source.fast_days else None
    overrides = [*(_FAST if fast else ()), *(["pipeline.partition_by=day"] if days else ())]
    scenario = load_scenario(_ROOT / source.config, overrides)
    log, prepared = raw / source.directory if source.directory else output / "log", output / "prepared"
    if not (prepared / MANIFEST).exists():
        shutil.rmtree(prepared, ignore_errors=True)
        if source.directory is None:
            shutil.rmtree(log, ignore_errors=True)
            simulate(log, users=source.fast_users if fast else source.users)
        elif not log.is_dir():
            raise InputError(f"{log}: not there; say with --raw where {source.directory} is, or leave {name} out")
        preprocess(scenario, str(log), str(prepared), days=days)
    truth = None if source.directory else log / TRUTH
    return QualityData(name, scenario, PreparedData.open(prepared), truth)
