"""A sweep for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.box import SIMPLE_HEAD
from rich.table import Table

from experiments.comparison import Summary
from experiments.sweep import Sweep


def sweep_tables(sweep: Sweep) -> Iterator[Table]:
    """A table a parameter, and the best setting."""
    for name, points in sweep.parameters.items():
        table = _table(f"{name}, the others as the scenario has them", name, sweep.part)
        for point in points:
            table.add_row(f"{point.value:g}", *_cells(Summary(point.mean, point.std), point.full, point.validation))
        yield table
    best = sweep.best
    table = _table("best of all settings by validation", "setting", sweep.part)
    setting = ", ".join(f"{name} {value:g}" for name, value in best.setting.items())
    table.add_row(setting, *_cells(best.part, best.full, best.validation))
    yield table


def _table(title: str, first: str, part: str) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column(first)
    for header in (f"AUC@10, {part}", "AUC@10, full", "validation AUC"):
        table.add_column(header, justify="right")
    return table


def _cells(*summaries: Summary) -> list[str]:
    return ["" if s.mean is None else f"{s.mean:.4f}" + ("" if s.std is None else f" ±{s.std:.4f}") for s in summaries]
