"""Counts of the values of every record column, by part."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import apache_beam as beam
import pyarrow as pa

from pipeline.config import Scenario
from pipeline.value_counts import add_counts, count_columns

#: Accumulated batches are added up when they have this many rows, which bounds memory.
_ROWS = 200_000


class CountValues(beam.PTransform):
    """Pairs of (part, record batch) to pairs of ((part, column), batch with `value` and `count`)."""

    def __init__(self, scenario: Scenario) -> None:
        super().__init__()
        self._features = scenario.features

    def expand(self, records: beam.PCollection) -> beam.PCollection:
        """Counts a batch at a time, then adds the counts."""
        counted = tuple[tuple[str, str], pa.RecordBatch]
        return (
            records
            | "CountInBatch" >> beam.FlatMap(self._count).with_output_types(counted)
            | "AddCounts" >> beam.CombinePerKey(_AddCounts()).with_output_types(counted)
        )

    def _count(self, element: tuple[str, pa.RecordBatch]) -> Iterator[tuple[tuple[str, str], pa.RecordBatch]]:
        part, records = element
        for column, counts in count_columns(self._features, records):
            yield (part, column), counts


class _AddCounts(beam.CombineFn):
    def create_accumulator(self) -> list[pa.RecordBatch]:
        return []

    def add_input(self, accumulator: list[pa.RecordBatch], batch: pa.RecordBatch) -> list[pa.RecordBatch]:
        accumulator.append(batch)
        return _compacted(accumulator)

    def merge_accumulators(self, accumulators: Iterable[list[pa.RecordBatch]]) -> list[pa.RecordBatch]:
        return _compacted([batch for accumulator in accumulators for batch in accumulator])

    def extract_output(self, accumulator: list[pa.RecordBatch]) -> pa.RecordBatch:
        return add_counts(accumulator)


def _compacted(batches: list[pa.RecordBatch]) -> list[pa.RecordBatch]:
    """Adds up what grew since the first batch, once that is more than the first batch itself."""
    new = sum(batch.num_rows for batch in batches[1:])
    return [add_counts(batches)] if new > max(_ROWS, batches[0].num_rows) else batches
