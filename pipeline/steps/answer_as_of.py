"""As-of numbers of the candidates: one grouping by entity of all events, co-purchases and requests."""

from __future__ import annotations

from collections.abc import Iterator

import apache_beam as beam
import numpy as np
import pyarrow as pa

from pipeline.as_of import EntityHistory, entity_features
from pipeline.batches import concat_batches, split_batch
from pipeline.co_purchases import PAIRS_SCHEMA, CoPurchases
from pipeline.config import Scenario
from pipeline.item_index import ItemIndex
from pipeline.ranges import offsets_of
from pipeline.steps.group_batches import GroupBatches
from pipeline.steps.index_items import entity_columns
from pipeline.steps.plan_slices import Slices

_EVENTS = pa.schema([("code", pa.int32()), ("action", pa.int8()), ("time", pa.int64())])
_ITEM = "item_id"
_Key = tuple[str, int, int]  # (entity, bucket of its codes, slice of the bucket's requests)
_KEYED = tuple[_Key, pa.RecordBatch]
_SHARDED = tuple[int, pa.RecordBatch]


class AnswerAsOf(beam.PTransform):
    """`{"sessions", "events", "pairs"}` to as-of numbers of the sessions' candidates.

    `sessions` and `pairs` are outputs of `JoinByUser`, `events` of `ResolveItems`. Outputs
    `answers`, pairs of (shard, batch) with `#place`, the position of the candidate among all
    of the shard's, and a column a feature; as of the log's end, for entities that have events,
    `at_end`, pairs of (entity, batch) with `#code` and a column a feature; and `co_purchases`,
    pairs of (bucket, batch) with item, other and count. No feature's name begins with `#`.

    All features of an entity are answered in one group, from one sorting of its events.

    Args:
        scenario: the scenario.
        items: side input, the batch of `IndexItems`.
        log_end: side input, one second after the log's last event or session.
        slices: side input, see `PlanSlices`.
        spill: see `GroupBatches`.
    """

    def __init__(
        self,
        scenario: Scenario,
        items: beam.pvalue.AsSingleton,
        log_end: beam.pvalue.AsSingleton,
        slices: beam.pvalue.AsSingleton,
        *,
        spill: str | None,
    ) -> None:
        super().__init__()
        self._scenario = scenario
        self._items = items
        self._log_end = log_end
        self._slices = slices
        self._spill = spill

    def expand(self, tables: dict[str, beam.PCollection]) -> beam.pvalue.DoOutputsTuple:
        """One group a slice of a bucket of an entity's codes."""
        columns, buckets = entity_columns(self._scenario.features), self._scenario.pipeline.join_shards
        bought_with = _bought_with(self._scenario)
        requests = tables["sessions"] | "RequestNumbers" >> beam.FlatMap(
            _request_numbers, self._items, self._slices, columns, buckets, bool(bought_with)
        ).with_output_types(_KEYED)
        events = tables["events"] | "KeyEventsByEntity" >> beam.FlatMap(
            _key_events, self._items, self._slices, columns, buckets
        ).with_output_types(_KEYED)
        pairs = tables["pairs"] | "KeyPairsByItem" >> beam.FlatMap(_key_pairs, self._slices, buckets).with_output_types(
            _KEYED
        )
        return (
            {"requests": requests, "events": events, "pairs": pairs}
            | "GroupByEntity" >> GroupBatches(self._spill)
            | "Answer"
            >> beam.ParDo(_Answer(self._scenario), self._items, self._log_end).with_outputs(
                "at_end", "co_purchases", main="answers"
            )
        )


def _bought_with(scenario: Scenario) -> list[str]:
    return [name for name, as_of in scenario.features.as_of.items() if as_of.measure == "bought_with"]


def _request_numbers(
    joined: tuple[int, pa.RecordBatch],
    items: pa.RecordBatch,
    slices: Slices,
    columns: dict[str, str],
    buckets: int,
    with_behaviors: bool,
) -> Iterator[tuple[_Key, pa.RecordBatch]]:
    shard, sessions = joined
    candidates = sessions.column("candidates")
    item = candidates.flatten().to_numpy()
    session = np.repeat(np.arange(sessions.num_rows), np.diff(candidates.offsets.to_numpy()))
    time = sessions.column("time").to_numpy()[session]
    place = np.arange(len(item), dtype=np.int32)
    behaviors = _distinct_behaviors(sessions, len(items)) if with_behaviors else None
    for entity, column in columns.items():
        code = ItemIndex(items).codes(column)[item]
        known = np.flatnonzero(code >= 0)
        request = {
            "shard": pa.array(np.full(len(known), shard, np.int32)),
            "place": pa.array(place[known]),
            "code": pa.array(code[known], pa.int32()),
            "time": pa.array(time[known]),
        }
        if behaviors is not None and entity == _ITEM:
            request["behaviors"] = behaviors.take(pa.array(session[known]))
        for bucket, part in split_batch(pa.RecordBatch.from_pydict(request), code[known] % buckets):
            yield (entity, bucket, shard % int(slices[entity][bucket])), part


def _distinct_behaviors(sessions: pa.RecordBatch, items: int) -> pa.ListArray:
    lists = sessions.column("behavior_item")
    owner = np.repeat(np.arange(len(lists)), np.diff(lists.offsets.to_numpy()))
    pairs = np.sort(owner * np.int64(max(items, 1)) + lists.flatten().to_numpy())
    distinct = pairs[np.flatnonzero(np.diff(pairs, prepend=-1))]  # faster than np.unique
    offsets = offsets_of(distinct // max(items, 1), len(lists))
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(distinct % max(items, 1), pa.int32()))


def _key_events(
    events: pa.RecordBatch, items: pa.RecordBatch, slices: Slices, columns: dict[str, str], buckets: int
) -> Iterator[tuple[_Key, pa.RecordBatch]]:
    item = events.column("item").to_numpy()
    for entity, column in columns.items():
        code = ItemIndex(items).codes(column)[item]
        batch = pa.RecordBatch.from_arrays(
            [pa.array(code, pa.int32()), events.column("action"), events.column("time")], schema=_EVENTS
        ).filter(pa.array(code >= 0))
        yield from _to_all_slices(entity, batch, batch.column("code").to_numpy() % buckets, slices)


def _key_pairs(pairs: pa.RecordBatch, slices: Slices, buckets: int) -> Iterator[tuple[_Key, pa.RecordBatch]]:
    yield from _to_all_slices(_ITEM, pairs, pairs.column("item").to_numpy() % buckets, slices)


def _to_all_slices(
    entity: str, batch: pa.RecordBatch, buckets: np.ndarray, slices: Slices
) -> Iterator[tuple[_Key, pa.RecordBatch]]:
    for bucket, part in split_batch(batch, buckets):
        for number in range(int(slices[entity][bucket])):
            yield (entity, bucket, number), part


@beam.typehints.with_output_types(_SHARDED)
class _Answer(beam.DoFn):
    def __init__(self, scenario: Scenario) -> None:
        self._features = entity_features(scenario.features.as_of)
        self._bought_with = _bought_with(scenario)

    def process(
        self, group: tuple[_Key, dict[str, list[pa.RecordBatch]]], items: pa.RecordBatch, log_end: int
    ) -> Iterator[_SHARDED | beam.pvalue.TaggedOutput]:
        (entity, bucket, number), tables = group
        features = self._features.get(entity, {})
        events = concat_batches(tables["events"], _EVENTS)
        code = events.column("code").to_numpy()
        history = EntityHistory(code, events.column("action").to_numpy(), events.column("time").to_numpy())
        co_purchases = None
        if self._bought_with and entity == _ITEM:
            co_purchases = CoPurchases(concat_batches(tables["pairs"], PAIRS_SCHEMA), items.num_rows)
        for request in tables["requests"]:
            numbers = history.numbers(features, request.column("code").to_numpy(), request.column("time").to_numpy())
            if co_purchases is not None:
                numbers |= dict.fromkeys(self._bought_with, _count_pairs(co_purchases, request))
            answer = _batch({"#place": request.column("place").to_numpy(), **numbers})
            yield from split_batch(answer, request.column("shard").to_numpy())
        if number > 0:  # the first slice speaks for all
            return
        active = np.unique(code)
        at_end = history.numbers(features, active, np.full(len(active), log_end))
        yield beam.pvalue.TaggedOutput("at_end", (entity, _batch({"#code": active, **at_end})))
        if co_purchases is not None:
            item, other, count = co_purchases.totals()
            totals = _batch({"item": item, "other": other, "count": count})
            yield beam.pvalue.TaggedOutput("co_purchases", (bucket, totals))


def _count_pairs(co_purchases: CoPurchases, request: pa.RecordBatch) -> np.ndarray:
    behaviors = request.column("behaviors")
    return co_purchases.bought_with(
        request.column("code").to_numpy(),
        request.column("time").to_numpy(),
        behaviors.offsets.to_numpy() - behaviors.offsets[0].as_py(),
        behaviors.flatten().to_numpy(),
    )


def _batch(columns: dict[str, np.ndarray]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({name: pa.array(values) for name, values in columns.items()})
