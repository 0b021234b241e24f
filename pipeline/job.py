"""The job's graph: which transform feeds which, and what each writes to the run's folder."""

from __future__ import annotations

import io
import json
import zlib
from dataclasses import asdict, dataclass, fields

import apache_beam as beam
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from apache_beam.pvalue import AsList, AsSingleton

from pipeline.as_of import entity_features
from pipeline.config import Scenario
from pipeline.counters import count
from pipeline.days import DateRange
from pipeline.features import USER_ENTITY, Features
from pipeline.folder import Folder
from pipeline.item_index import ItemIndex
from pipeline.output import COUNTS, REJECTS
from pipeline.prepared_data import SERVING
from pipeline.raw_tables import RawTables, Reject
from pipeline.serving_tables import as_of_table, co_purchases_table, items_table
from pipeline.steps.answer_as_of import AnswerAsOf
from pipeline.steps.count_values import CountValues
from pipeline.steps.find_split import FindBoundaries, FindLogEnd
from pipeline.steps.group_batches import GroupBatches
from pipeline.steps.index_items import IndexItems, entity_columns
from pipeline.steps.join_by_user import JoinByUser
from pipeline.steps.keep_days import KeepDays
from pipeline.steps.make_records import MakeRecords
from pipeline.steps.plan_slices import PlanSlices
from pipeline.steps.resolve_items import ResolveItems
from pipeline.steps.unique_sessions import UniqueSessions
from pipeline.write_records import WriteRecords

_REJECTS = pa.schema([(field.name, pa.string()) for field in fields(Reject)])
_KEYED_REJECTS = tuple[tuple[str, int], pa.RecordBatch]
#: Times that the job finds, for the manifest.
TIMES = "times.json"


@dataclass(frozen=True)
class Job:
    """What to build, beside the scenario.

    Attributes:
        target: the run's folder.
        days: sessions of these days only; None for all.
        boundaries: when validation and test begin, where that is known; see `split_boundaries`.
        spill: see `GroupBatches`.
    """

    target: Folder
    days: DateRange | None = None
    boundaries: tuple[int, int] | None = None
    spill: str | None = None


def build_job(pipeline: beam.Pipeline, scenario: Scenario, raw: RawTables, job: Job) -> None:
    """Composes the job: resolve items, join by user, answer as-of numbers, make records, count values."""
    features, spill, target = scenario.features, job.spill, job.target
    columns, shards = entity_columns(features), scenario.pipeline.join_shards

    items = AsSingleton(raw.items | "IndexItems" >> IndexItems(scenario))
    events = (
        raw.events | "EventsOfDays" >> KeepDays("events", job.days) | "ResolveEvents" >> ResolveItems("events", items)
    )
    resolved = (
        raw.sessions
        | "SessionsOfDays" >> KeepDays("sessions", job.days)
        | "ResolveSessions" >> ResolveItems("sessions", items)
    )
    sessions = resolved.kept | "UniqueSessions" >> UniqueSessions(scenario, spill=spill)
    slices = AsSingleton(sessions | "PlanSlices" >> PlanSlices(items, columns, shards))
    log_end = AsSingleton((events.kept, sessions) | "FindLogEnd" >> FindLogEnd())
    if job.boundaries is None:
        boundaries = AsSingleton(sessions | "FindBoundaries" >> FindBoundaries(scenario.pipeline.split))
    else:
        boundaries = AsSingleton(pipeline | "Boundaries" >> beam.Create([job.boundaries]))

    tables = {"events": events.kept, "sessions": sessions, "users": raw.users}
    joined = tables | "JoinByUser" >> JoinByUser(scenario, items, boundaries, log_end, spill=spill)
    asked = {"sessions": joined.sessions, "events": events.kept, "pairs": joined.pairs}
    as_of = asked | "AnswerAsOf" >> AnswerAsOf(scenario, items, log_end, slices, spill=spill)
    answered = {"sessions": joined.sessions, "answers": as_of.answers}
    records = answered | "MakeRecords" >> MakeRecords(scenario, items, spill=spill)
    counts = records | "CountValues" >> CountValues(features, spill=spill)
    rejects = (raw.rejects, events.rejects, resolved.rejects, joined.rejects) | "AllRejects" >> beam.Flatten()

    _ = records | "WriteRecords" >> beam.ParDo(WriteRecords(target, features))
    _ = counts | "WriteCounts" >> beam.MapTuple(
        lambda key, batch: _write_parquet(target, "/".join((COUNTS, *key)), pa.Table.from_batches([batch]))
    )
    keyed = rejects | "KeyRejects" >> beam.Map(_key_reject, shards).with_output_types(_KEYED_REJECTS)
    grouped = {"rejects": keyed} | "GroupRejects" >> GroupBatches(spill)
    _ = grouped | "WriteRejects" >> beam.Map(_write_rejects, target, shards)
    once = pipeline | "Once" >> beam.Create([target])
    _ = once | "WriteItems" >> beam.Map(_write_items, features, items)
    _ = once | "WriteAsOf" >> beam.Map(_write_as_of, features, items, AsList(as_of.at_end))
    _ = once | "WriteTimes" >> beam.Map(_write_times, boundaries, log_end)
    if USER_ENTITY in entity_features(features.as_of):
        _ = joined.users | "WriteUsers" >> beam.MapTuple(
            lambda shard, users: _write_shard(target, f"as_of_{USER_ENTITY}", shard, pa.Table.from_batches([users]))
        )
    if any(as_of.measure == "bought_with" for as_of in features.as_of.values()):
        _ = as_of.co_purchases | "WriteCoPurchases" >> beam.Map(_write_co_purchases, target, items)


def _key_reject(reject: Reject, shards: int) -> tuple[tuple[str, int], pa.RecordBatch]:
    """A reject as a batch of one row, so that many of them are no Python objects while they wait."""
    bucket = zlib.crc32(reject.line.encode(errors="replace")) % shards
    return (reject.table, bucket), pa.RecordBatch.from_pylist([asdict(reject)], _REJECTS)


def _write_rejects(group: tuple[tuple[str, int], dict[str, list[pa.RecordBatch]]], target: Folder, shards: int) -> None:
    (table, bucket), tables = group
    rejects = pa.Table.from_batches(tables["rejects"], _REJECTS)
    for reason in pc.value_counts(rejects["reason"]).to_pylist():
        count(f"rejected/{table}/{reason['values']}", reason["counts"])
    rejects = rejects.sort_by([(name, "ascending") for name in ("file", "reason", "line")])
    lines = (json.dumps(row) + "\n" for batch in rejects.to_batches(max_chunksize=1024) for row in batch.to_pylist())
    target.write(f"{REJECTS}/{table}-{bucket:05d}-of-{shards:05d}.jsonl", "".join(lines).encode())


def _write_items(target: Folder, features: Features, items: pa.RecordBatch) -> None:
    _write_parquet(target, f"{SERVING}/items", items_table(features, ItemIndex(items)))


def _write_as_of(
    target: Folder, features: Features, items: pa.RecordBatch, at_end: list[tuple[str, pa.RecordBatch]]
) -> None:
    declared = entity_features(features.as_of)
    for entity, column in entity_columns(features).items():
        if entity in declared:
            batches = [batch for name, batch in at_end if name == entity]
            names = ItemIndex(items).entities(column)
            _write_parquet(target, f"{SERVING}/as_of_{entity}", as_of_table(features, entity, names, batches))


def _write_co_purchases(element: tuple[int, pa.RecordBatch], target: Folder, items: pa.RecordBatch) -> None:
    bucket, totals = element
    _write_shard(target, "co_purchases", bucket, co_purchases_table(totals, ItemIndex(items)))


def _write_shard(target: Folder, table: str, shard: int, rows: pa.Table) -> None:
    """A part of a table that may be too large for one worker; readers take the folder for one file."""
    _write_parquet(target, f"{SERVING}/{table}.parquet/shard-{shard:05d}", rows)


def _write_times(target: Folder, boundaries: tuple[int, int], log_end: int) -> None:
    times = {"split": {"validation_start": boundaries[0], "test_start": boundaries[1]}, "log_end": log_end}
    target.write(TIMES, json.dumps(times).encode())


def _write_parquet(target: Folder, name: str, table: pa.Table) -> None:
    file = io.BytesIO()
    pq.write_table(table, file)
    target.write(f"{name}.parquet", file.getvalue())
