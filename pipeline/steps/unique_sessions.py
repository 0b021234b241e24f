"""One session of each id."""

from __future__ import annotations

import apache_beam as beam
import pyarrow as pa

from pipeline.batches import concat_batches, least_of_each
from pipeline.config import Scenario
from pipeline.counters import count
from pipeline.sessions import resolved_sessions
from pipeline.steps.group_batches import GroupBatches
from pipeline.steps.shard_by import ShardBy


class UniqueSessions(beam.PTransform):
    """Batches of resolved sessions to the same without repeated ids, and counts those.

    Of several sessions with one id the least row stays, whatever the order of the log; they may
    be of several users, so this is a grouping of its own.

    Args:
        scenario: the scenario.
        spill: see `GroupBatches`.
    """

    def __init__(self, scenario: Scenario, *, spill: str | None) -> None:
        super().__init__()
        self._scenario = scenario
        self._spill = spill

    def expand(self, sessions: beam.PCollection) -> beam.PCollection:
        """One group a shard of ids."""
        schema = resolved_sessions(self._scenario.features)

        def keep_least(_: int, tables: dict[str, list[pa.RecordBatch]]) -> pa.RecordBatch:
            given = concat_batches(tables["sessions"], schema)
            unique = least_of_each(given, "session_id")
            count("dropped/sessions/duplicate", given.num_rows - unique.num_rows)
            return unique

        by_session = sessions | "ShardBySession" >> ShardBy("session_id", self._scenario)
        return (
            {"sessions": by_session}
            | "GroupBySession" >> GroupBatches(self._spill)
            | "KeepLeast" >> beam.MapTuple(keep_least).with_output_types(pa.RecordBatch)
        )
