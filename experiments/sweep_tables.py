"""A sweep for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.box import SIMPLE_HEAD
from rich.table import Table

from experiments.comparison import Summary
from experiments.metric_titles import METRIC_TITLES
from experiments.number_text import mean_and_spread
from experiments.sweep import Sweep


def sweep_tables(sweep: Sweep) -> Iterator[Table]:
    """A table a parameter, and the best setting."""
    for name, points in sweep.parameters.items():
        table = _table(f"{name}, the others as the scenario has them", name, sweep)
        for point in points:
            table.add_row(f"{point.value:g}", *_cells(Summary(point.mean, point.std), point.full, point.validation))
        yield table
    best = sweep.best
    table = _table("best of all settings by validation", "setting", sweep)
    setting = ", ".join(f"{name} {value:g}" for name, value in best.setting.items())
    table.add_row(setting, *_cells(best.part, best.full, best.validation))
    yield table


def _table(title: str, first: str, sweep: Sweep) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column(first)
    metric = METRIC_TITLES[sweep.metric]
    for header in (f"{metric}, {sweep.part}", f"{metric}, full", "validation AUC"):
        table.add_column(header, justify="right")
    return table


def _cells(*summaries: Summary) -> list[str]:
    return [mean_and_spread(summary) for summary in summaries]
