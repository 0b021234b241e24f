"""Joined sessions and as-of answers to record batches."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import apache_beam as beam
import numpy as np
import pyarrow as pa

from pipeline.as_of import entity_features
from pipeline.co_purchases import CoPurchases
from pipeline.config import Scenario
from pipeline.counters import count
from pipeline.features import USER_ENTITY
from pipeline.item_index import ItemIndex
from pipeline.prepared_data import PARTS
from pipeline.records import build_records

#: Sessions of a record batch: it bounds memory, and is large enough that a batch's fixed cost is small.
_SESSIONS_AT_ONCE = 2048


class MakeRecords(beam.PTransform):
    """`(sessions, answers)`, both by shard, to pairs of ((part, shard), batch in record columns).

    The batches of a shard come in the order of its sessions, from one call.

    Args:
        scenario: the scenario.
        items: side input, the batch of `IndexItems`.
        pairs: side input, all co-purchases in one batch.
    """

    def __init__(self, scenario: Scenario, items: beam.pvalue.AsSingleton, pairs: beam.pvalue.AsSingleton) -> None:
        super().__init__()
        self._scenario = scenario
        self._side_inputs = (items, pairs)

    def expand(self, inputs: tuple[beam.PCollection, beam.PCollection]) -> beam.PCollection:
        """One group a user shard."""
        sessions, answers = inputs
        return (
            {"sessions": sessions, "answers": answers}
            | "GroupBySessionShard" >> beam.CoGroupByKey()
            | "BuildRecords" >> beam.ParDo(_BuildRecords(self._scenario), *self._side_inputs)
        )


@beam.typehints.with_output_types(tuple[tuple[str, int], pa.RecordBatch])
class _BuildRecords(beam.DoFn):
    def __init__(self, scenario: Scenario) -> None:
        self._features = scenario.features
        by_entity = entity_features(scenario.features.as_of)
        self._of_entities = {
            name: feature
            for entity, features in by_entity.items()
            if entity != USER_ENTITY
            for name, feature in features.items()
        }
        self._bought_with = [name for name, as_of in scenario.features.as_of.items() if as_of.measure == "bought_with"]
        self._pairs: pa.RecordBatch | None = None

    def process(
        self,
        group: tuple[int, dict[str, list[pa.RecordBatch]]],
        items: pa.RecordBatch,
        pairs: pa.RecordBatch,
    ) -> Iterator[tuple[tuple[str, int], pa.RecordBatch]]:
        shard, tables = group
        (sessions,) = tables["sessions"]
        index = ItemIndex(items)
        if self._pairs is not pairs:  # sorting them once serves all shards of a bundle
            self._pairs, self._co_purchases = pairs, CoPurchases(pairs, len(index))
        offsets = sessions.column("candidates").offsets.to_numpy()
        numbers = self._gather(tables["answers"], int(offsets[-1]))
        for first, rows in _blocks(sessions.column("part").to_numpy()):
            block = sessions.slice(first, rows)
            places = slice(offsets[first], offsets[first + rows])
            of_block = {name: values[places] for name, values in numbers.items()}
            if self._bought_with:
                counts = self._count_pairs(block)
                of_block |= dict.fromkeys(self._bought_with, counts)
            records = build_records(self._features, block, index, of_block)
            part = PARTS[block.column("part")[0].as_py()]
            count(f"written/{part}/sessions", rows)
            count(f"written/{part}/candidates", places.stop - places.start)
            count(f"written/{part}/positives", int(block.column("label").flatten().to_numpy().sum()))
            yield (part, shard), records

    def _gather(self, answers: list[pa.RecordBatch], candidates: int) -> dict[str, np.ndarray]:
        """Numbers of all the shard's candidates; an entity without answers has no events."""
        numbers = {
            name: np.full(candidates, 0 if feature.measure == "count" else np.nan, np.float32)
            for name, feature in self._of_entities.items()
        }
        for answer in answers:
            place = answer.column("#place").to_numpy()
            for name in answer.schema.names[1:]:
                numbers[name][place] = answer.column(name).to_numpy()
        return numbers

    def _count_pairs(self, block: pa.RecordBatch) -> np.ndarray:
        candidates, behaviors = block.column("candidates"), block.column("behavior_item")
        session = np.repeat(np.arange(block.num_rows), np.diff(candidates.offsets.to_numpy()))
        return self._co_purchases.bought_with(
            candidates.flatten().to_numpy(),
            session,
            block.column("time").to_numpy()[session],
            behaviors.flatten().to_numpy(),
            np.repeat(np.arange(block.num_rows), np.diff(behaviors.offsets.to_numpy())),
        )


def _blocks(part: np.ndarray) -> Iterator[tuple[int, int]]:
    """First row and number of rows of blocks that have one part each; `part` is sorted."""
    starts = np.append(np.flatnonzero(np.diff(part, prepend=-1)), len(part)).tolist()
    for start, end in pairwise(starts):
        for first in range(start, end, _SESSIONS_AT_ONCE):
            yield first, min(_SESSIONS_AT_ONCE, end - first)
