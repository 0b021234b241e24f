"""Where in time the parts begin and the log ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.config import Split
from pipeline.sampling import split_boundaries

_HOUR = 3600


class FindBoundaries(beam.PTransform):
    """Batches of sessions to one pair of times, see `split_boundaries`; exact, from a histogram of hours."""

    def __init__(self, split: Split) -> None:
        super().__init__()
        self._split = split

    def expand(self, sessions: beam.PCollection) -> beam.PCollection:
        """Counts hours in each batch, then adds the counts."""
        return (
            sessions
            | "CountHours" >> beam.Map(_count_hours)
            | "AddHours" >> beam.CombineGlobally(_add)
            | "FindBoundaries" >> beam.Map(split_boundaries, self._split)
        )


class FindLogEnd(beam.PTransform):
    """PCollections of batches with a column `time` to one number: a second after the latest time, 0 without any."""

    def expand(self, tables: tuple[beam.PCollection, ...]) -> beam.PCollection:
        """Takes the greatest of each batch, then of all.

        The tables meet only as numbers: Beam's runners for Flink and Spark may refuse a `Flatten` whose
        input another transform reads too (apache/beam#34647), and both tables are read elsewhere.
        """
        ends = tuple(
            batches | f"LatestOfBatch{number}" >> beam.Map(lambda batch: pc.max(batch.column("time")).as_py() + 1)
            for number, batches in enumerate(tables)
        )
        return (
            ends
            | "AllEnds" >> beam.Flatten()
            | "LatestOfAll" >> beam.CombineGlobally(lambda ends: max(ends, default=0))
        )


def _count_hours(sessions: pa.RecordBatch) -> Counter[int]:
    hours, counts = np.unique(sessions.column("time").to_numpy() // _HOUR, return_counts=True)
    return Counter(dict(zip(hours.tolist(), counts.tolist(), strict=True)))


def _add(counts: Iterable[Counter[int]]) -> Counter[int]:
    total: Counter[int] = Counter()
    for count in counts:
        total.update(count)
    return total
