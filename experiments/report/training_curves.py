"""Training curves: loss and validation session AUC by epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from experiments.report.figure import Drawing, draw
from experiments.report.palette import series

History = Mapping[str, Sequence[float]]
#: Of the curves: the first that a history has.
_LOSS = ("ranking_loss", "loss")
_AUC = ("val_session_auc", "session_auc")
_AXES = {
    "ranking_loss": "ranking loss",
    "loss": "loss",
    "val_session_auc": "validation session AUC",
    "session_auc": "training session AUC",
}
_MARKERS = "os^DvPX*"


def mean_and_deviation(runs: Sequence[Sequence[float]]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation over seeds by epoch, `[E]` each; a shorter run has no part in the later epochs."""
    values = np.full((len(runs), max(map(len, runs))), np.nan)
    for row, run in zip(values, runs, strict=True):
        row[: len(run)] = run
    counts = np.isfinite(values).sum(axis=0)
    deviation = np.sqrt(np.nansum((values - np.nanmean(values, axis=0)) ** 2, axis=0) / np.maximum(counts - 1, 1))
    return np.nanmean(values, axis=0), deviation


def draw_training_curves(histories: Mapping[str, Sequence[History]]) -> list[Drawing]:
    """Two figures: the loss, and the session AUC; a line a label, a band over its seeds.

    Args:
        histories: by label, one a seed.
    """
    loss = _metric(histories, _LOSS)
    auc = _metric(histories, _AUC)
    best = {
        label: float(mean_and_deviation([history[auc] for history in runs])[0].max())
        for label, runs in histories.items()
    }
    leader = max(best, key=lambda label: best[label])
    return [
        Drawing(
            name="training-loss",
            title="Training loss by epoch",
            caption=f"The mean {_AXES[loss]} of training batches; the band is one standard deviation over seeds. "
            "It is of sampled negatives, and without the gate's own terms, so that models compare.",
            description=f"A falling line for each of {len(histories)} models.",
            svg=draw("training-loss", 300, lambda figure: _paint(figure, histories, loss)),
        ),
        Drawing(
            name="training-auc",
            title=f"{_AXES[auc].capitalize().replace('auc', 'AUC')} by epoch",
            caption=f"The epoch with the best value was kept. {leader} comes highest ({best[leader]:.4f}); where "
            "bands overlap, the order may be chance. The band is one standard deviation over seeds.",
            description=f"A line for each of {len(histories)} models; {leader} reaches {best[leader]:.4f}.",
            svg=draw("training-auc", 300, lambda figure: _paint(figure, histories, auc)),
        ),
    ]


def _metric(histories: Mapping[str, Sequence[History]], names: Sequence[str]) -> str:
    everywhere = [name for name in names if all(name in history for runs in histories.values() for history in runs)]
    return everywhere[0] if everywhere else names[-1]


def _paint(figure: Figure, histories: Mapping[str, Sequence[History]], metric: str) -> None:
    axes: Axes = figure.subplots()
    for index, (label, runs) in enumerate(histories.items()):
        mean, deviation = mean_and_deviation([history[metric] for history in runs])
        epochs = np.arange(1, len(mean) + 1)
        axes.plot(epochs, mean, marker=_MARKERS[index % len(_MARKERS)], markersize=5, color=series(index), label=label)
        if deviation.any():
            axes.fill_between(epochs, mean - deviation, mean + deviation, color=series(index), alpha=0.2, linewidth=0)
    axes.set(xlabel="epoch", ylabel=_AXES[metric])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    longest = max(map(len, histories))
    figure.legend(loc="outside upper left", ncols=3 if longest <= 13 else 2 if longest <= 20 else 1)
