"""How scores of bought and of other candidates are distributed."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from sklearn.metrics import roc_auc_score

from experiments.report.figure import Drawing, draw
from experiments.report.palette import series

_BINS = 40
#: Told apart without colour too.
_LINES = ("-", (0, (5, 2)))


def draw_score_distribution(labels: np.ndarray, scores: np.ndarray, label: str, *, probabilities: bool) -> Drawing:
    """The figure: a histogram a class, each adding up to 100%.

    Args:
        labels: `[M]`, 0 or 1.
        scores: `[M]`, probabilities, or logits less their session's mean.
        label: of the model.
        probabilities: which of the two.
    """
    classes = {"not bought": scores[labels < 0.5], "bought": scores[labels > 0.5]}
    edges = np.histogram_bin_edges(scores, _BINS, (0, 1) if probabilities else None)
    what = "score" if probabilities else "score less the mean of its session"

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        for index, (name, values) in enumerate(classes.items()):
            shares = np.histogram(values, edges)[0] / max(len(values), 1)
            (line,) = axes.plot(np.repeat(edges, 2)[1:-1], np.repeat(shares, 2), color=series(index))
            line.set(linestyle=_LINES[index], label=f"{name} ({len(values):,})")
            axes.stairs(shares, edges, fill=True, color=series(index), alpha=0.18)
        axes.set(xlabel=what, ylabel="share of the class's candidates", xlim=edges[[0, -1]], ylim=(0, None))
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        figure.legend(loc="outside upper left", ncols=2)

    both = all(map(len, classes.values()))
    pooled = ""
    if both and probabilities:
        chance = roc_auc_score(labels, scores)
        pooled = f" Over all sessions together a bought one scores above another with chance {chance:.1%} (pooled AUC)."
    medians = {name: np.median(values) if len(values) else np.nan for name, values in classes.items()}
    words = ", ".join(f"{name} {median:.2f}" for name, median in medians.items()).replace("-", "\N{MINUS SIGN}")
    return Drawing(
        name="score-distribution",
        title=f"Scores of bought and other candidates ({label})",
        caption=f"The less the two overlap, the better they are told apart. Medians: {words}.{pooled}",
        description=f"Two histograms of scores; medians: {words}.",
        svg=draw("score-distribution", 320, paint),
    )
