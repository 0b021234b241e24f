"""Joined sessions and as-of answers to record batches."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa

from pipeline.config import Scenario
from pipeline.counters import count
from pipeline.days import day_name
from pipeline.features import USER_ENTITY
from pipeline.item_index import ItemIndex
from pipeline.prepared_data import PARTS
from pipeline.record_file import RecordFile
from pipeline.records import build_records
from pipeline.steps.group_batches import GroupBatches

#: Sessions of a record batch, which is one file: it bounds memory, and a batch's fixed cost is small.
_SESSIONS_AT_ONCE = 8192


class MakeRecords(beam.PTransform):
    """`{"sessions", "answers"}`, both by shard, to pairs of (`RecordFile`, batch in record columns).

    Args:
        scenario: the scenario.
        items: side input, the batch of `IndexItems`.
        spill: see `GroupBatches`.
    """

    def __init__(self, scenario: Scenario, items: beam.pvalue.AsSingleton, *, spill: str | None) -> None:
        super().__init__()
        self._scenario = scenario
        self._items = items
        self._spill = spill

    def expand(self, tables: dict[str, beam.PCollection]) -> beam.PCollection:
        """One group a user shard."""
        return (
            tables
            | "GroupBySessionShard" >> GroupBatches(self._spill)
            | "BuildRecords" >> beam.ParDo(_BuildRecords(self._scenario), self._items)
        )


@beam.typehints.with_output_types(tuple[Any, pa.RecordBatch])
class _BuildRecords(beam.DoFn):
    def __init__(self, scenario: Scenario) -> None:
        self._features = scenario.features
        self._of_candidates = {
            name: feature for name, feature in scenario.features.as_of.items() if feature.entity != USER_ENTITY
        }

    def process(
        self, group: tuple[int, dict[str, list[pa.RecordBatch]]], items: pa.RecordBatch
    ) -> Iterator[tuple[RecordFile, pa.RecordBatch]]:
        shard, tables = group
        (sessions,) = tables["sessions"]
        index = ItemIndex(items)
        offsets = sessions.column("candidates").offsets.to_numpy()
        numbers = self._gather(tables["answers"], int(offsets[-1]))
        for first, rows, block in _blocks(sessions):
            of_block = sessions.slice(first, rows)
            places = slice(offsets[first], offsets[first + rows])
            records = build_records(
                self._features, of_block, index, {name: values[places] for name, values in numbers.items()}
            )
            part = PARTS[of_block.column("part")[0].as_py()]
            count(f"written/{part}/files", 1)
            count(f"written/{part}/sessions", rows)
            count(f"written/{part}/candidates", places.stop - places.start)
            count(f"written/{part}/positives", int(of_block.column("label").flatten().to_numpy().sum()))
            yield RecordFile(part, day_name(of_block.column("day")[0].as_py()), shard, block), records

    def _gather(self, answers: list[pa.RecordBatch], candidates: int) -> dict[str, np.ndarray]:
        """Numbers of all the shard's candidates; an entity without answers has no events."""
        numbers = {
            name: np.full(candidates, np.nan if feature.measure == "age_days" else 0, np.float32)
            for name, feature in self._of_candidates.items()
        }
        for answer in answers:
            place = answer.column("#place").to_numpy()
            for name in answer.schema.names[1:]:
                numbers[name][place] = answer.column(name).to_numpy()
        return numbers


def _blocks(sessions: pa.RecordBatch) -> Iterator[tuple[int, int, int]]:
    """First row, number of rows, and which block of its part and day it is; sessions are sorted by these."""
    part, day = (sessions.column(name).to_numpy() for name in ("part", "day"))
    changes = (np.diff(part, prepend=-1) != 0) | (np.diff(day, prepend=-1) != 0)
    changes[:1] = True
    for start, end in pairwise([*np.flatnonzero(changes).tolist(), len(part)]):
        for block, first in enumerate(range(start, end, _SESSIONS_AT_ONCE)):
            yield first, min(_SESSIONS_AT_ONCE, end - first), block
