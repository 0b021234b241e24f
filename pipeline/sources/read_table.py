"""Reads one raw table, in JSON Lines or Parquet, as clean Arrow batches and rejects."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.counters import count
from pipeline.raw_tables import Reject
from pipeline.rejects import reject_rows
from pipeline.sources.json_lines import parse_json_lines
from pipeline.sources.open_raw import open_raw
from pipeline.sources.rows import check_rows

#: Bytes of text that are parsed together; a Parquet batch has as many rows as such a block about has lines.
_BLOCK_BYTES = 8 * 2**20
_BLOCK_ROWS = 65_536


class ReadTable(beam.PTransform):
    """Files of one table to PCollections `batches` (`pa.RecordBatch`) and `rejects` (`Reject`).

    Counts `read/<table>`: the rows seen, good and bad.

    Args:
        table: the table's name, for counters and rejects.
        files: ending in .parquet, or JSON Lines (.gz is unpacked).
        schema: made with `pipeline.sources.rows.column`.
        literal_eval: see `parse_json_lines`.
    """

    def __init__(self, table: str, files: list[str], schema: pa.Schema, *, literal_eval: bool = False) -> None:
        super().__init__()
        self._table = table
        self._files = files
        self._read = _ReadFile(table, schema, literal_eval)

    def expand(self, pipeline: beam.Pipeline) -> beam.pvalue.DoOutputsTuple:
        """Reads the files in parallel, each in blocks of lines or rows."""
        return (
            pipeline
            | "ListFiles" >> beam.Create(self._files, reshuffle=True)
            | "ReadFiles" >> beam.ParDo(self._read).with_outputs("rejects", main="batches")
        )


@beam.typehints.with_output_types(pa.RecordBatch)
class _ReadFile(beam.DoFn):
    def __init__(self, table: str, schema: pa.Schema, literal_eval: bool) -> None:
        self._table = table
        self._schema = schema
        self._literal_eval = literal_eval

    def process(self, path: str) -> Iterator[pa.RecordBatch | beam.pvalue.TaggedOutput]:
        """One file to its batches and rejects."""
        parse = self._parquet if path.endswith(".parquet") else self._json_lines
        with open_raw(path) as stream:
            for batch, rejects in parse(stream, path):
                count(f"read/{self._table}", batch.num_rows + len(rejects))
                if batch.num_rows:
                    yield batch
                yield from (beam.pvalue.TaggedOutput("rejects", reject) for reject in rejects)

    def _json_lines(self, stream: BinaryIO, path: str) -> Iterator[tuple[pa.RecordBatch, list[Reject]]]:
        rest = b""
        while True:
            block = stream.read(_BLOCK_BYTES)
            *lines, rest = (rest + block).split(b"\n") if block else (rest, b"")
            lines = [line for line in lines if line.strip()]
            if lines:
                yield parse_json_lines(
                    lines, self._schema, table=self._table, file=path, literal_eval=self._literal_eval
                )
            if not block:
                return

    def _parquet(self, stream: BinaryIO, path: str) -> Iterator[tuple[pa.RecordBatch, list[Reject]]]:
        file = pq.ParquetFile(stream)
        columns = [name for name in self._schema.names if name in file.schema_arrow.names]
        for raw in file.iter_batches(batch_size=_BLOCK_ROWS, columns=columns):
            batch, reasons = check_rows(raw, self._schema)
            rejects: list[Reject] = []
            for row, reason in sorted(reasons.items()):
                rejects += reject_rows(raw.slice(row, 1), reason, table=self._table, file=path)
            yield batch, rejects
