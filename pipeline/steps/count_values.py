"""Counts of every column's values, for each part and day."""

from __future__ import annotations

from collections.abc import Iterator

import apache_beam as beam
import pyarrow as pa

from pipeline.column_counts import add_up_counts, pack_counts
from pipeline.features import Features
from pipeline.record_file import RecordFile
from pipeline.steps.group_batches import GroupBatches
from pipeline.value_counts import count_columns

_PartDay = tuple[str, str]
_COUNTED = tuple[_PartDay, pa.RecordBatch]


class CountValues(beam.PTransform):
    """Pairs of (`RecordFile`, batch) to pairs of ((part, day), batch in `COLUMN_COUNTS`), one for each part and day.

    Args:
        features: the declaration.
        spill: see `GroupBatches`.
    """

    def __init__(self, features: Features, *, spill: str | None) -> None:
        super().__init__()
        self._features = features
        self._spill = spill

    def expand(self, records: beam.PCollection) -> beam.PCollection:
        """Counts in each batch, then adds the counts."""
        counted = records | "CountInFile" >> beam.FlatMap(_count, self._features).with_output_types(_COUNTED)
        return (
            {"counts": counted}
            | "GroupByDay" >> GroupBatches(self._spill)
            | "AddCounts"
            >> beam.MapTuple(lambda key, tables: (key, add_up_counts(tables["counts"]))).with_output_types(_COUNTED)
        )


def _count(element: tuple[RecordFile, pa.RecordBatch], features: Features) -> Iterator[tuple[_PartDay, pa.RecordBatch]]:
    file, records = element
    yield (file.part, file.day), pack_counts(count_columns(features, records))
