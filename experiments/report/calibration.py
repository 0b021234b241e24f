"""Calibration: how scores compare with the share of candidates that were bought."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from experiments.report.figure import REFERENCE, Drawing, draw
from experiments.report.palette import MUTED, series

_BINS = 10
_INTERVAL = 1.96
_NAME = "calibration"
_TITLE = "Calibration ({})"


@dataclass(frozen=True)
class Calibration:
    """Scores in bins of equal width, those without candidates left out.

    Attributes:
        scores: mean score by bin.
        rates: share of positives by bin.
        counts: candidates by bin.
        error: expected calibration error, mean of |rate - score| by candidates.
        log_loss: mean of eq. 1.
        brier: mean of (label - score)^2.
    """

    scores: np.ndarray
    rates: np.ndarray
    counts: np.ndarray
    error: float
    log_loss: float
    brier: float


def calibration(labels: np.ndarray, scores: np.ndarray, bins: int = _BINS) -> Calibration:
    """Calibration of probabilities.

    Args:
        labels: `[M]`, 0 or 1.
        scores: `[M]`, between 0 and 1.
    """
    index = np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], scores)
    counts = np.bincount(index, minlength=bins)
    there = counts > 0
    means = np.bincount(index, scores, minlength=bins)[there] / counts[there]
    rates = np.bincount(index, labels, minlength=bins)[there] / counts[there]
    kept = np.clip(scores, 1e-7, 1 - 1e-7)
    return Calibration(
        scores=means,
        rates=rates,
        counts=counts[there],
        error=float(np.abs(rates - means) @ counts[there] / counts.sum()),
        log_loss=float(-np.mean(np.where(labels > 0.5, np.log(kept), np.log1p(-kept)))),
        brier=float(np.mean((labels - scores) ** 2)),
    )


def draw_calibration(result: Calibration, label: str) -> Drawing:
    """The figure: reliability above, how many candidates a bin has below.

    Args:
        result: of the model.
        label: of the model.
    """

    def paint(figure: Figure) -> None:
        axes, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        (diagonal,) = axes.plot([0, 1], [0, 1], color=MUTED.light, linewidth=1, linestyle=(0, (4, 3)))
        diagonal.set_gid(f"{REFERENCE}-diagonal")
        axes.text(0.03, 0.97, "dashed: score = share bought", transform=axes.transAxes, va="top", color=MUTED.light)
        axes.errorbar(
            result.scores,
            result.rates,
            yerr=_wilson(result.rates, result.counts),
            marker="o",
            markersize=5,
            elinewidth=1.4,
            capsize=3,
            color=series(0),
        )
        axes.set(ylabel="share bought", xlim=(0, 1), ylim=(0, 1))
        below.bar(result.scores, result.counts, width=0.06, color=series(0), alpha=0.75)
        below.yaxis.set_major_locator(MaxNLocator(3))
        below.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        below.set(xlabel="mean score of the bin", ylabel="candidates")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(PercentFormatter(1, decimals=0))

    where = "above" if float(result.scores @ result.counts) > float(result.rates @ result.counts) else "below"
    mean = result.scores @ result.counts / result.counts.sum()
    rate = result.rates @ result.counts / result.counts.sum()
    return Drawing(
        name=_NAME,
        title=_TITLE.format(label),
        caption=f"Under the diagonal, scores are higher than the share bought. The mean score ({mean:.1%}) is {where} "
        f"that share ({rate:.1%}): a model trained on sampled negatives expects more purchases than full lists have. "
        f"Use scores to rank. ECE {result.error:.3f}, log loss {result.log_loss:.3f}, "
        f"Brier {result.brier:.3f}; bars are 95% intervals.",
        description=f"A reliability curve of {len(result.counts)} bins and the number of candidates of each.",
        svg=draw(_NAME, 400, paint),
    )


def no_calibration(label: str, loss: str) -> Drawing:
    """Words in place of the figure, for a model whose scores are no probabilities."""
    why = f"The {loss} loss compares the candidates of one session, and any level of scores is the same to it: "
    return Drawing(_NAME, _TITLE.format(label), "", instead=f"{why}scores are logits, to rank with, not probabilities.")


def _wilson(rates: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Distances `[2, bins]` from a share to the ends of its interval (Wilson's)."""
    z = _INTERVAL
    centre = (rates + z**2 / (2 * counts)) / (1 + z**2 / counts)
    half = z / (1 + z**2 / counts) * np.sqrt(rates * (1 - rates) / counts + z**2 / (4 * counts**2))
    return np.maximum([rates - (centre - half), centre + half - rates], 0)
