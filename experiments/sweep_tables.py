"""A sweep for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.box import SIMPLE_HEAD
from rich.table import Table

from experiments.comparison import Summary
from experiments.metric_titles import METRIC_TITLES
from experiments.number_text import mean_and_spread, p_value
from experiments.setting_text import setting_text
from experiments.sweep_result import Sweep


def sweep_tables(sweep: Sweep) -> Iterator[Table]:
    """A table a parameter, and the best setting; p is of the difference to the scenario's own setting."""
    for name, points in sweep.parameters.items():
        table = _table(f"{name}; p of the difference to the scenario's own setting", name, sweep)
        for point in points:
            cells = _cells(point.p, Summary(point.mean, point.std), point.full, point.validation)
            own = " (the scenario's)" if point.value == sweep.own[name] else ""
            table.add_row(f"{point.value:g}{own}", *cells)
        yield table
    best = sweep.best
    table = _table("best of all settings by validation", "setting", sweep)
    table.add_row(setting_text(best.setting), *_cells(best.p, best.part, best.full, best.validation))
    yield table


def _table(title: str, first: str, sweep: Sweep) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column(first)
    metric = METRIC_TITLES[sweep.metric]
    for header in (f"{metric}, {sweep.part}", "p", f"{metric}, full", "validation AUC"):
        table.add_column(header, justify="right")
    return table


def _cells(p: float | None, part: Summary, full: Summary, validation: Summary) -> list[str]:
    return [mean_and_spread(part), p_value(p), mean_and_spread(full), mean_and_spread(validation)]
