"""Reads one raw table, in JSON Lines or Parquet, as clean Arrow batches and rejects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import apache_beam as beam
import pyarrow as pa

from pipeline.counters import count
from pipeline.sources.layout import Layout
from pipeline.sources.read_file import read_file


class ReadTable(beam.PTransform):
    """Files of one table to PCollections `batches` (`pa.RecordBatch`) and `rejects` (`Reject`).

    Counts `read/<table>`: the rows seen, good and bad. Where layouts differ in their columns, so do
    the batches.

    Args:
        table: the table's name, for counters and rejects.
        files: ending in .parquet, or JSON Lines (.gz is unpacked).
        layouts: see `read_file`.
        literal_eval: see `parse_json_lines`.
    """

    def __init__(self, table: str, files: list[str], layouts: Sequence[Layout], *, literal_eval: bool = False) -> None:
        super().__init__()
        self._files = files
        self._read = _ReadFile(table, layouts, literal_eval)

    def expand(self, pipeline: beam.Pipeline) -> beam.pvalue.DoOutputsTuple:
        """Reads the files in parallel, each in blocks of lines or rows."""
        return (
            pipeline
            | "ListFiles" >> beam.Create(self._files, reshuffle=True)
            | "ReadFiles" >> beam.ParDo(self._read).with_outputs("rejects", main="batches")
        )


@beam.typehints.with_output_types(pa.RecordBatch)
class _ReadFile(beam.DoFn):
    def __init__(self, table: str, layouts: Sequence[Layout], literal_eval: bool) -> None:
        self._table = table
        self._layouts = layouts
        self._literal_eval = literal_eval

    def process(self, path: str) -> Iterator[pa.RecordBatch | beam.pvalue.TaggedOutput]:
        """One file to its batches and rejects."""
        for batch, rejects in read_file(path, self._layouts, table=self._table, literal_eval=self._literal_eval):
            count(f"read/{self._table}", batch.num_rows + len(rejects))
            if batch.num_rows:
                yield batch
            yield from (beam.pvalue.TaggedOutput("rejects", reject) for reject in rejects)
