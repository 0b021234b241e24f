"""Figure 8: the contrastive loss's settings against the metric of a sweep."""

from __future__ import annotations

from matplotlib.figure import Figure

from experiments.comparison import FULL
from experiments.metric_titles import METRIC_TITLES
from experiments.number_text import mean_and_spread, p_value
from experiments.report.figure import Drawing, draw
from experiments.report.palette import series
from experiments.report.tables import SIGNIFICANT
from experiments.setting_text import setting_text
from experiments.sweep_result import Sweep

_NAMES = {
    "mask_probability": "mask probability (share of behaviours)",
    "negatives": "negatives l (gates of other users)",
    "weight": "weight λ of the contrastive loss",
}


def draw_sweep(sweep: Sweep) -> Drawing:
    """The figure: a panel a parameter, its values from least to largest, what validation chooses ringed."""
    panels = {
        name: [(point, point.mean) for point in points if point.mean is not None]
        for name, points in sweep.parameters.items()
    }
    panels = {name: points for name, points in panels.items() if points}
    part = sweep.part.replace("_", " ")
    metric = METRIC_TITLES[sweep.metric]
    title = f"Figure 8: settings of the contrastive loss, {metric} on the {part} test part"
    if not panels:
        return Drawing("sweep", title, "", instead=f"No session of that part has an {metric}.")
    chosen = {name: sweep.chosen(name) for name in panels}

    def paint(figure: Figure) -> None:
        for axes, (name, points) in zip(
            figure.subplots(len(panels), 1, sharey=True, squeeze=False)[:, 0], panels.items(), strict=True
        ):
            axes.errorbar(
                range(len(points)),
                [mean for _, mean in points],
                yerr=[point.std or 0 for point, _ in points],
                marker="o",
                markersize=5,
                elinewidth=1.4,
                capsize=3,
                color=series(0),
            )
            for at, (point, mean) in enumerate(points):
                if point == chosen[name]:
                    axes.plot(at, mean, marker="o", markersize=12, markeredgewidth=2, fillstyle="none", color=series(1))
            axes.set_xticks(range(len(points)), [f"{point.value:g}" for point, _ in points])
            axes.set_xlim(-0.4, len(points) - 0.6)
            axes.set(xlabel=_NAMES.get(name, name), ylabel=metric)

    test = mean_and_spread(sweep.best.part) or "not defined"
    words = setting_text({name: point.value for name, point in chosen.items()})
    on_full = "" if sweep.part == FULL else f" and {mean_and_spread(sweep.best.full)} on the full one"
    return Drawing(
        name="sweep",
        title=title,
        caption=f"Rings mark what validation chooses on each curve: {words}. Of all settings that were tried it "
        f"chooses {setting_text(sweep.best.setting)}, whose {metric} is {test} on this part{on_full}. "
        f"Bars are one standard deviation over seeds, and no test. {_differences(sweep)}",
        paper="each curve has one peak: mask probability 0.1, 3 negatives, weight 0.05.",
        description=f"{len(panels)} curves of {metric}; validation chooses {words}.",
        svg=draw("sweep", 30 + 165 * len(panels), paint),
    )


def _differences(sweep: Sweep) -> str:
    """Which points differ from the scenario's own setting, by the test over sessions and seeds."""
    tested = [
        (name, point, point.p) for name, points in sweep.parameters.items() for point in points if point.p is not None
    ]
    own = f"the scenario's own setting ({setting_text(sweep.own)})"
    if not tested:
        return f"Whether a point differs from {own} was not tested: that takes two seeds."
    by = f"by a test over sessions and seeds (p < {SIGNIFICANT}, not corrected for its {len(tested)} points)"
    sure = [f"{setting_text({name: point.value})} (p {_equals(p)})" for name, point, p in tested if p < SIGNIFICANT]
    return f"These differ from {own} {by}: {', '.join(sure)}." if sure else f"No point differs from {own} {by}."


def _equals(p: float) -> str:
    text = p_value(p)
    return text if text.startswith("<") else f"= {text}"
