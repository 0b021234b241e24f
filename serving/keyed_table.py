"""A Parquet table in memory, looked up by the strings of one column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import InputError


@dataclass(frozen=True)
class KeyedTable:
    """Rows by key; values stay in Arrow, so that millions of rows cost little beside their keys."""

    rows: dict[str, int]
    columns: dict[str, pa.Array]

    @classmethod
    def read(cls, path: Path, key: str, columns: Sequence[str]) -> KeyedTable:
        """Reads a file's key and `columns`.

        Raises:
            InputError: the file or a column is not there.
        """
        table = read_columns(path, [key, *columns])
        rows = {str(value): row for row, value in enumerate(table[key].to_pylist())}
        return cls(rows, {name: table[name].combine_chunks() for name in columns})

    def get(self, key: str | None, column: str, default: Any = None) -> Any:
        """The value of a key's row; `default` where there is no such key or the value is null."""
        row = self.rows.get(key) if key is not None else None
        value = self.columns[column][row].as_py() if row is not None else None
        return default if value is None else value


def read_columns(path: Path, columns: Sequence[str]) -> pa.Table:
    """The named columns of a Parquet table.

    Raises:
        InputError: the file or a column is not there.
    """
    try:
        dataset = pq.ParquetDataset(path)  # a large table is a folder of files
    except (OSError, pa.ArrowException) as error:
        reason = "not there" if isinstance(error, FileNotFoundError) else f"cannot be read: {error}"
        raise InputError(f"{path}: {reason}; run `awmoe preprocess` first") from error
    if missing := [name for name in columns if name not in dataset.schema.names]:
        raise InputError(f"{path}: has no column `{missing[0]}`; preprocess again with this scenario")
    return dataset.read(columns=list(dict.fromkeys(columns)))
