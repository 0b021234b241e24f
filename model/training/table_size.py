"""The size of embedding tables, before there are any."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pipeline.config import Scenario

#: Of a weight.
FLOAT_BYTES = 4


@dataclass(frozen=True)
class TableSize:
    """One embedding table; bytes are of float32.

    Attributes:
        name: as the scenario declares it.
        rows: of all values, known and unknown.
        columns: numbers of a row.
        optimizer: `training.table_optimizer`.
    """

    name: str
    rows: int
    columns: int
    optimizer: Literal["adagrad", "lazy_adamw"] = "adagrad"

    @property
    def parameters(self) -> int:
        """Its weights."""
        return self.rows * self.columns

    @property
    def weight_bytes(self) -> int:
        """Of the weights."""
        return FLOAT_BYTES * self.parameters

    @property
    def optimizer_bytes(self) -> int:
        """Of what the optimizer keeps beside them: an accumulator of equal size, or two moments and a count a row."""
        return self.weight_bytes if self.optimizer == "adagrad" else 2 * self.weight_bytes + FLOAT_BYTES * self.rows

    @property
    def bytes(self) -> int:
        """Of both."""
        return self.weight_bytes + self.optimizer_bytes


def table_sizes(scenario: Scenario, rows: Mapping[str, int]) -> list[TableSize]:
    """Of all tables, the largest first.

    Args:
        rows: of each table, as `table_rows` gives them.
    """
    sizes = []
    for name, count in rows.items():
        declared = scenario.features.tables.get(name)
        columns = declared.dimension if declared and declared.dimension else scenario.model.embedding_dimension
        sizes.append(TableSize(name, count, columns, scenario.training.table_optimizer))
    return sorted(sizes, key=lambda size: -size.parameters)
