"""Rows of an Arrow batch that are left out, as rejects."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pyarrow as pa

from pipeline.raw_tables import Reject


def reject_rows(rows: pa.RecordBatch, reason: str, *, table: str, file: str = "") -> Iterator[Reject]:
    """Each row as a reject; its line is the row as JSON.

    Args:
        file: empty where it is no longer known.
    """
    for row in rows.to_pylist():
        yield Reject(table, file, reason, json.dumps(row, default=str, ensure_ascii=False))
