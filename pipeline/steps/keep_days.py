"""Leaves out what a run over some days does not look at."""

from __future__ import annotations

import apache_beam as beam
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.counters import count
from pipeline.days import DateRange


class KeepDays(beam.PTransform):
    """Batches with a column `time` to the rows of some days, and counts those left out.

    Of sessions the days themselves are kept. Of events everything before their end: behaviours
    and as-of numbers look back. What comes later is left out, so that the run gives the same
    whether the log goes on or not.

    Args:
        table: `events` or `sessions`.
        days: None keeps everything.
    """

    def __init__(self, table: str, days: DateRange | None) -> None:
        super().__init__()
        self._table = table
        self._days = days

    def expand(self, batches: beam.PCollection) -> beam.PCollection:
        """Filters each batch."""
        if self._days is None:
            return batches
        filtered = batches | "KeepRows" >> beam.Map(_keep, self._table, self._days).with_output_types(pa.RecordBatch)
        return filtered | "DropEmpty" >> beam.Filter(lambda batch: batch.num_rows > 0)


def _keep(batch: pa.RecordBatch, table: str, days: DateRange) -> pa.RecordBatch:
    time = batch.column("time")
    inside = pc.less(time, days.end)
    if table == "sessions":
        inside = pc.and_(inside, pc.greater_equal(time, days.start))
    kept = batch.filter(inside)
    count(f"dropped/{table}/outside the date range", batch.num_rows - kept.num_rows)
    return kept
