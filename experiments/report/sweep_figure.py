"""Figure 8: the contrastive loss's settings against the metric of a sweep."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from experiments.metric_titles import METRIC_TITLES
from experiments.report.figure import Drawing, draw
from experiments.report.palette import series
from pipeline.errors import InputError

SWEEP = "sweep.json"
_NAMES = {
    "mask_probability": "mask probability (share of behaviours)",
    "negatives": "negatives l (gates of other users)",
    "weight": "weight λ of the contrastive loss",
}


def read_sweep(directory: Path) -> dict[str, Any]:
    """What `awmoe sweep` wrote.

    Raises:
        InputError: it is not there, or no sweep.
    """
    path = directory / SWEEP
    try:
        sweep: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: is not there; `awmoe sweep --output {directory}` makes it") from None
    except ValueError as error:
        raise InputError(f"{path}: is damaged ({error}); run `awmoe sweep` again") from None
    points = sweep.get("parameters") if isinstance(sweep, dict) else None
    if not isinstance(points, dict) or not any(points.values()):
        raise InputError(f"{path}: has no values; run `awmoe sweep` again")
    return sweep


def draw_sweep(sweep: dict[str, Any]) -> Drawing:
    """The figure: a panel a parameter, its values from least to largest, the best one marked."""
    panels = {
        name: sorted((point for point in points if point["mean"] is not None), key=lambda point: point["value"])
        for name, points in sweep["parameters"].items()
    }
    panels = {name: points for name, points in panels.items() if points}
    part = str(sweep.get("part", "full")).replace("_", " ")
    metric = METRIC_TITLES.get(sweep["metric"], sweep["metric"])
    title = f"Figure 8: settings of the contrastive loss, {metric} on the {part} test part"
    if not panels:
        return Drawing("sweep", title, "", instead=f"No session of that part has an {metric}.")
    best = {name: max(points, key=lambda point: point["mean"]) for name, points in panels.items()}

    def paint(figure: Figure) -> None:
        for axes, (name, points) in zip(
            figure.subplots(len(panels), 1, sharey=True, squeeze=False)[:, 0], panels.items(), strict=True
        ):
            means = [point["mean"] for point in points]
            axes.errorbar(
                range(len(points)),
                means,
                yerr=[point.get("std") or 0 for point in points],
                marker="o",
                markersize=5,
                elinewidth=1.4,
                capsize=3,
                color=series(0),
            )
            at = points.index(best[name])
            axes.plot(at, means[at], marker="o", markersize=12, markeredgewidth=2, fillstyle="none", color=series(1))
            axes.set_xticks(range(len(points)), [f"{point['value']:g}" for point in points])
            axes.set_xlim(-0.4, len(points) - 0.6)
            axes.set(xlabel=_NAMES.get(name, name), ylabel=metric)

    words = ", ".join(f"{name.replace('_', ' ')} {point['value']:g}" for name, point in best.items())
    chosen = (sweep.get("best") or {}).get("setting") or {}
    setting = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in chosen.items())
    return Drawing(
        name="sweep",
        title=title,
        caption=f"Rings mark the best means: {words}. Bars are one standard deviation over seeds; points whose "
        "bars overlap are not told apart." + (f" Chosen, by validation: {setting}." if setting else ""),
        paper="each curve has one peak: mask probability 0.1, 3 negatives, weight 0.05.",
        description=f"{len(panels)} curves of {metric}; the best are at {words}.",
        svg=draw("sweep", 30 + 165 * len(panels), paint),
    )
