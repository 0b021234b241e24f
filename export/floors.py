"""Floors: what a run's metrics must reach before it is published."""

from __future__ import annotations

from pathlib import Path

from model.evaluate import Evaluation, evaluate
from model.run_directory import Run
from model.weights_fingerprint import weights_fingerprint
from pipeline.errors import InputError
from pipeline.prepared_data import PreparedData


def check_floors(run: Run, metrics_file: Path | None, data: PreparedData | None) -> None:
    """Holds that the run reaches `export.floors` on the full test part; without floors nothing is asked.

    Args:
        run: the trained model.
        metrics_file: what `awmoe evaluate` wrote; counts where it is of this run's weights.
        data: evaluated on where `metrics_file` does not count.

    Raises:
        InputError: a metric is below its floor or not defined; or there are floors and no metrics.
    """
    floors = run.scenario.export.floors.model_dump(exclude_none=True)
    if not floors:
        return
    metrics = _metrics(run, metrics_file, data)
    failed = []
    for name, floor in floors.items():
        value = metrics.get(name)
        if value is None:
            failed.append(f"{name} is not defined and export.floors.{name} is {floor:g}")
        elif not value >= floor:  # so that NaN fails too
            failed.append(f"{name} {value:.6g} is below export.floors.{name} {floor:g}")
    if failed:
        raise InputError(f"the full test part's {'; '.join(failed)}; nothing was published")


def _metrics(run: Run, metrics_file: Path | None, data: PreparedData | None) -> dict[str, float | None]:
    """Those of the model on the full test part."""
    what = "the scenario has export.floors, and no metrics are given"
    if metrics_file is not None:
        try:
            evaluation = Evaluation.read(metrics_file)
        except FileNotFoundError:
            what = f"{metrics_file}: not there, and the scenario has export.floors"
        else:
            if evaluation.weights == weights_fingerprint(run.model):
                return evaluation.metrics.get("full", {}).get("model", {})
            what = f"{metrics_file}: is of other weights than this run's, and the scenario has export.floors"
    if data is None:
        place = metrics_file.parent if metrics_file is not None else "RUN"
        raise InputError(f"{what}; run `awmoe evaluate {place} --data PREPARED` first, or give `--data PREPARED` here")
    return evaluate(run, data).metrics["full"]["model"]
