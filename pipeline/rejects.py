"""Rows of an Arrow batch that are left out, as rejects."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from pipeline.raw_tables import Reject


def reject_rows(rows: pa.RecordBatch, reason: str, *, table: str, file: str = "") -> Iterator[Reject]:
    """Each row as a reject; its line is the row as JSON.

    Args:
        file: empty where it is no longer known.
    """
    for place in range(rows.num_rows):
        row = {name: _plain(values[place]) for name, values in zip(rows.schema.names, rows.columns, strict=True)}
        yield Reject(table, file, reason, json.dumps(row, default=str, ensure_ascii=False))


def _plain(value: pa.Scalar) -> Any:
    try:
        return value.as_py()
    except (ValueError, OverflowError):  # text that is no UTF-8, a time that is beyond Python's
        return getattr(value, "value", f"a {value.type} that cannot be shown")
