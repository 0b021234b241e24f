"""What a model's weights take, as a table for people."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table

from model.training.bytes_text import bytes_text
from model.training.table_size import FLOAT_BYTES, TableSize

#: Of what the optimizer of dense weights keeps: AdamW's two moments.
_MOMENTS = 2


def size_table(sizes: Sequence[TableSize], dense_parameters: int) -> Table:
    """One row an embedding table, then the dense layers and the sum.

    Args:
        sizes: of all tables, the largest first.
        dense_parameters: weights outside the tables.
    """
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("embedding table", overflow="fold")
    for column in ("rows", "columns", "parameters", "weights", "optimizer"):
        table.add_column(column, justify="right", no_wrap=True)
    for size in sizes:
        shape = (f"{size.rows:,}", f"{size.columns:,}", f"{size.parameters:,}")
        table.add_row(size.name, *shape, bytes_text(size.weight_bytes), bytes_text(size.optimizer_bytes))
    dense = FLOAT_BYTES * dense_parameters
    dense_text = (f"{dense_parameters:,}", bytes_text(dense), bytes_text(_MOMENTS * dense))
    table.add_row("dense layers", "", "", *dense_text, end_section=True)
    parameters = sum(size.parameters for size in sizes) + dense_parameters
    weights = sum(size.weight_bytes for size in sizes) + dense
    optimizer = sum(size.optimizer_bytes for size in sizes) + _MOMENTS * dense
    table.add_row("all", "", "", f"{parameters:,}", bytes_text(weights), bytes_text(optimizer))
    return table
