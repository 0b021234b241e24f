"""Events, sessions and profiles of the same users, brought together and joined."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import apache_beam as beam
import pyarrow as pa

from pipeline.batches import concat_batches
from pipeline.config import Scenario
from pipeline.counters import count
from pipeline.item_index import ItemIndex
from pipeline.raw_tables import users_schema
from pipeline.rejects import reject_rows
from pipeline.sessions import RESOLVED_EVENTS, join_sessions, resolved_sessions
from pipeline.steps.group_batches import GroupBatches
from pipeline.steps.shard_by import ShardBy


class JoinByUser(beam.PTransform):
    """`{"events", "sessions", "users"}` to joined sessions, by shard; see `join_sessions`.

    Outputs `sessions`, pairs of (shard, batch) with one batch a shard; `pairs`, batches; `users`,
    pairs of (shard, batch); `rejects`.

    Args:
        scenario: the scenario.
        items: side input, the batch of `IndexItems`.
        boundaries: side input, see `split_boundaries`.
        log_end: side input, one second after the log's last event or session.
        spill: see `GroupBatches`.
    """

    def __init__(
        self,
        scenario: Scenario,
        items: beam.pvalue.AsSingleton,
        boundaries: beam.pvalue.AsSingleton,
        log_end: beam.pvalue.AsSingleton,
        *,
        spill: str | None,
    ) -> None:
        super().__init__()
        self._scenario = scenario
        self._spill = spill
        self._side_inputs = (items, boundaries, log_end)

    def expand(self, tables: Mapping[str, beam.PCollection]) -> beam.pvalue.DoOutputsTuple:
        """One group a shard."""
        by_user = {
            name: table | f"Shard{name.title()}" >> ShardBy("user_id", self._scenario) for name, table in tables.items()
        }
        return (
            by_user
            | "GroupByUserShard" >> GroupBatches(self._spill)
            | "JoinShard"
            >> beam.ParDo(_JoinShard(self._scenario), *self._side_inputs).with_outputs(
                "pairs", "users", "rejects", main="sessions"
            )
        )


@beam.typehints.with_output_types(tuple[int, pa.RecordBatch])
class _JoinShard(beam.DoFn):
    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario

    def process(
        self,
        group: tuple[int, dict[str, list[pa.RecordBatch]]],
        items: pa.RecordBatch,
        boundaries: tuple[int, int],
        log_end: int,
    ) -> Iterator[tuple[int, pa.RecordBatch] | beam.pvalue.TaggedOutput]:
        shard, tables = group
        features = self._scenario.features
        joined = join_sessions(
            self._scenario,
            events=concat_batches(tables["events"], RESOLVED_EVENTS),
            sessions=concat_batches(tables["sessions"], resolved_sessions(features)),
            users=concat_batches(tables["users"], users_schema(features)),
            item_hashes=ItemIndex(items).hashes(),
            boundaries=boundaries,
            log_end=log_end,
        )
        for name, amount in joined.counts.items():
            count(name, amount)
        if joined.sessions.num_rows:
            yield shard, joined.sessions
        yield beam.pvalue.TaggedOutput("pairs", joined.pairs)
        yield beam.pvalue.TaggedOutput("users", (shard, joined.users))
        for reject in reject_rows(joined.rejected, "user without a required number", table="sessions"):
            yield beam.pvalue.TaggedOutput("rejects", reject)
