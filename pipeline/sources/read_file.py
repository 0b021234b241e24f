"""Reads one file of a raw table, in JSON Lines or Parquet, as clean Arrow batches and rejects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import InputError
from pipeline.raw_tables import Reject
from pipeline.rejects import reject_rows
from pipeline.sources.json_lines import parse_json_lines
from pipeline.sources.layout import Layout
from pipeline.sources.open_raw import open_raw
from pipeline.sources.rows import check_rows

#: Bytes of text that are parsed together; a Parquet batch has as many rows as such a block about has lines.
_BLOCK_BYTES = 8 * 2**20
_BLOCK_ROWS = 65_536

_Read = Iterator[tuple[pa.RecordBatch, list[Reject]]]


def read_file(path: str, layouts: Sequence[Layout], *, table: str, literal_eval: bool = False) -> _Read:
    """The rows of a file, block by block: the good ones in their layout's columns, and the bad ones.

    Every line that is not blank is in one of both.

    Args:
        path: ends in .parquet, or is JSON Lines (.gz is unpacked).
        layouts: a line has the first one that fits, and a Parquet file the last one, which has no marks.
        table: name of the table, for rejects.
        literal_eval: see `parse_json_lines`.

    Raises:
        InputError: the file cannot be opened, is damaged, or has a column that can never fit.
    """
    with open_raw(path) as stream:
        if path.endswith(".parquet"):
            yield from _parquet(stream, layouts[-1].schema, table, path)
            return
        for lines in _blocks(stream):
            for layout, own in _by_layout(lines, layouts):
                yield parse_json_lines(own, layout.schema, table=table, file=path, literal_eval=literal_eval)


def _blocks(stream: BinaryIO) -> Iterator[list[bytes]]:
    """The lines that are not blank."""
    rest = b""
    while True:
        block = stream.read(_BLOCK_BYTES)
        *lines, rest = (rest + block).split(b"\n") if block else (rest, b"")
        yield [line for line in lines if line.strip()]
        if not block:
            return


def _by_layout(lines: list[bytes], layouts: Sequence[Layout]) -> Iterator[tuple[Layout, list[bytes]]]:
    """The lines of each layout, in their order."""
    for layout in layouts:
        own = [line for line in lines if layout.has(line)] if layout.marks else lines
        if own:
            yield layout, own
            lines = [line for line in lines if not layout.has(line)] if len(own) < len(lines) else []


def _parquet(stream: BinaryIO, schema: pa.Schema, table: str, path: str) -> _Read:
    for raw in _batches(stream, schema):
        batch, reasons = check_rows(raw, schema)
        rejects: list[Reject] = []
        for row, reason in sorted(reasons.items()):
            rejects += reject_rows(raw.slice(row, 1), reason, table=table, file=path)
        yield batch, rejects


def _batches(stream: BinaryIO, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    try:
        file = pq.ParquetFile(stream)
        names = file.schema_arrow.names
        columns = [name for name in schema.names if name in names]
        if twice := [name for name in columns if names.count(name) > 1]:
            raise InputError(f"two columns are named `{twice[0]}`")
        yield from file.iter_batches(batch_size=_BLOCK_ROWS, columns=columns)
    except (InputError, OSError, pa.ArrowException):
        raise
    except Exception as error:  # whatever the bytes of a damaged file lead to
        raise InputError(f"cannot be read, is it damaged? {' '.join(str(error).split())}") from error
