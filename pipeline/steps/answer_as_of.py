"""As-of numbers of the candidates' entities: one grouping of all events and all requests."""

from __future__ import annotations

from collections.abc import Iterator

import apache_beam as beam
import numpy as np
import pyarrow as pa

from pipeline.as_of import EntityHistory, entity_features
from pipeline.batches import concat_batches, split_batch
from pipeline.config import Scenario
from pipeline.item_index import ItemIndex
from pipeline.steps.index_items import entity_columns

_EVENTS = pa.schema([("code", pa.int32()), ("action", pa.int8()), ("time", pa.int64())])
_Key = tuple[str, int]  # (entity, bucket of its codes)


class AnswerAsOf(beam.PTransform):
    """`(sessions, events)` to as-of numbers.

    `sessions` are the output of `JoinByUser`, `events` that of `ResolveItems`. Outputs
    `answers`, pairs of (shard, batch) with `#place`, the position of the candidate among all
    of the shard's, and a column a feature; `at_end`, pairs of (entity, batch) with `#code`
    and a column a feature as of the log's end, for entities that have events. No feature's
    name begins with `#`.

    Args:
        scenario: the scenario.
        items: side input, the batch of `IndexItems`.
        log_end: side input, one second after the log's last event or session.
    """

    def __init__(self, scenario: Scenario, items: beam.pvalue.AsSingleton, log_end: beam.pvalue.AsSingleton) -> None:
        super().__init__()
        self._scenario = scenario
        self._items = items
        self._log_end = log_end

    def expand(self, inputs: tuple[beam.PCollection, beam.PCollection]) -> beam.pvalue.DoOutputsTuple:
        """One group a bucket of an entity's codes."""
        sessions, events = inputs
        columns, buckets = entity_columns(self._scenario.features), self._scenario.pipeline.shards
        keyed = tuple[_Key, pa.RecordBatch]
        requests = sessions | "RequestNumbers" >> beam.FlatMap(
            _request_numbers, self._items, columns, buckets
        ).with_output_types(keyed)
        of_entities = events | "KeyEventsByEntity" >> beam.FlatMap(
            _key_events, self._items, columns, buckets
        ).with_output_types(keyed)
        return (
            {"requests": requests, "events": of_entities}
            | "GroupByEntity" >> beam.CoGroupByKey()
            | "Answer" >> beam.ParDo(_Answer(self._scenario), self._log_end).with_outputs("at_end", main="answers")
        )


def _request_numbers(
    joined: tuple[int, pa.RecordBatch], items: pa.RecordBatch, columns: dict[str, str], buckets: int
) -> Iterator[tuple[_Key, pa.RecordBatch]]:
    shard, sessions = joined
    candidates = sessions.column("candidates")
    item = candidates.flatten().to_numpy()
    time = np.repeat(sessions.column("time").to_numpy(), np.diff(candidates.offsets.to_numpy()))
    place = np.arange(len(item), dtype=np.int32)
    for entity, column in columns.items():
        code = ItemIndex(items).codes(column)[item]
        known = code >= 0
        batch = pa.RecordBatch.from_pydict(
            {
                "shard": pa.array(np.full(int(known.sum()), shard, np.int32)),
                "place": pa.array(place[known]),
                "code": pa.array(code[known], pa.int32()),
                "time": pa.array(time[known]),
            }
        )
        for bucket, part in split_batch(batch, code[known] % buckets):
            yield (entity, bucket), part


def _key_events(
    events: pa.RecordBatch, items: pa.RecordBatch, columns: dict[str, str], buckets: int
) -> Iterator[tuple[_Key, pa.RecordBatch]]:
    item = events.column("item").to_numpy()
    for entity, column in columns.items():
        code = ItemIndex(items).codes(column)[item]
        batch = pa.RecordBatch.from_arrays(
            [pa.array(code, pa.int32()), events.column("action"), events.column("time")], schema=_EVENTS
        ).filter(pa.array(code >= 0))
        for bucket, part in split_batch(batch, batch.column("code").to_numpy() % buckets):
            yield (entity, bucket), part


@beam.typehints.with_output_types(tuple[int, pa.RecordBatch])
class _Answer(beam.DoFn):
    def __init__(self, scenario: Scenario) -> None:
        self._features = entity_features(scenario.features.as_of)

    def process(
        self, group: tuple[_Key, dict[str, list[pa.RecordBatch]]], log_end: int
    ) -> Iterator[tuple[int, pa.RecordBatch] | beam.pvalue.TaggedOutput]:
        (entity, _), tables = group
        features = self._features[entity]
        events = concat_batches(tables["events"], _EVENTS)
        code = events.column("code").to_numpy()
        history = EntityHistory(code, events.column("action").to_numpy(), events.column("time").to_numpy())
        for request in tables["requests"]:
            numbers = history.numbers(features, request.column("code").to_numpy(), request.column("time").to_numpy())
            yield request.column("shard")[0].as_py(), _batch({"#place": request.column("place").to_numpy(), **numbers})
        active = np.unique(code)
        at_end = history.numbers(features, active, np.full(len(active), log_end))
        yield beam.pvalue.TaggedOutput("at_end", (entity, _batch({"#code": active, **at_end})))


def _batch(columns: dict[str, np.ndarray]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({name: pa.array(values) for name, values in columns.items()})
