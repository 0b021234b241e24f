"""The Beam job: a raw log in, a directory of prepared data out (`pipeline/prepared_data.py` shows it).

Reads and writes are here; the steps between are transforms of `pipeline/steps`.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.pvalue import AsList, AsSingleton
from google.protobuf import text_format

from pipeline.as_of import entity_features
from pipeline.batches import GatherBatches
from pipeline.beam_pipeline import beam_pipeline
from pipeline.co_purchases import PAIRS_SCHEMA
from pipeline.config import Scenario, dump_scenario
from pipeline.counters import count, read_counters
from pipeline.encoding_assets import STATISTICS, VOCABULARIES, dump_statistics
from pipeline.errors import InputError
from pipeline.features import USER_ENTITY, Features, Numeric
from pipeline.item_index import ItemIndex
from pipeline.prepared_data import MANIFEST, PARTS, SCENARIO, SERVING
from pipeline.quiet_workers import quiet_workers
from pipeline.raw_tables import RawTables, Reject
from pipeline.records import record_schema
from pipeline.serving_tables import as_of_table, co_purchases_table, items_table
from pipeline.sessions import users_at_end_schema
from pipeline.steps.answer_as_of import AnswerAsOf
from pipeline.steps.count_values import CountValues
from pipeline.steps.find_split import FindBoundaries, FindLogEnd
from pipeline.steps.index_items import IndexItems, entity_columns
from pipeline.steps.join_by_user import JoinByUser
from pipeline.steps.make_records import MakeRecords
from pipeline.steps.resolve_items import ResolveItems
from pipeline.steps.unique_sessions import UniqueSessions
from pipeline.value_counts import numeric_statistics, vocabulary
from pipeline.why_unusable import why_unusable
from pipeline.write_records import WriteRecords

REJECTS = "rejects"
#: Carries times from the job to the manifest.
_TIMES = ".times.json"
SCHEMA = "schema.pbtxt"


def preprocess(
    scenario: Scenario,
    input_path: str,
    output: str,
    *,
    pipeline_args: Sequence[str] = (),
    overwrite: bool = False,
) -> dict[str, Any]:
    """Turns a raw log into prepared data.

    The output directory appears only when it is complete. A run that fails by what is in the
    log leaves its rejects: in `output`, or beside it where `output` holds prepared data.

    Args:
        scenario: what to build, and which source reads `input_path`.
        input_path: the raw log's directory.
        output: the directory to make.
        pipeline_args: Beam options; without a `--runner` the job runs in this process.
        overwrite: replace prepared data that is already there.

    Returns:
        The manifest.

    Raises:
        InputError: the input cannot be used, or `output` is taken; one clear line.
    """
    target = Path(output).resolve()
    staging = _make_staging(target, overwrite)
    try:
        counters = _run_job(scenario, input_path, staging, pipeline_args)
        if reason := why_unusable(scenario, counters):
            raise InputError(f"{input_path}: {reason}{_keep_rejects(staging, target)}")
        manifest = _complete(scenario, staging, counters)
        _publish(staging, target)
        return manifest
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _run_job(scenario: Scenario, input_path: str, directory: Path, pipeline_args: Sequence[str]) -> dict[str, int]:
    _quiet_beam()
    quiet_workers()
    pipeline = beam_pipeline(pipeline_args)
    _build(pipeline, scenario, _source(scenario)(pipeline, input_path, scenario), directory)
    try:
        result = pipeline.run()
        result.wait_until_finish()
    except Exception as error:
        # A worker's exception comes back with the step's name behind its message, or as the text of a traceback.
        told = re.findall(r"pipeline\.errors\.InputError: (.*)", str(error))
        if not told and not isinstance(error, InputError):
            raise
        raise InputError(re.sub(r" \[while running.*", "", (told or [str(error)])[-1], flags=re.DOTALL)) from None
    return read_counters(result)


def _quiet_beam() -> None:
    """Beam tells warnings, but not the traceback of an error that the user is told in one line."""

    def is_news(record: logging.LogRecord) -> bool:
        told = record.exc_info and isinstance(record.exc_info[1], InputError)
        return not told and "pipeline.errors.InputError" not in record.getMessage()

    logging.getLogger("apache_beam").setLevel(logging.WARNING)
    for name in ("common", "worker.sdk_worker", "portability.local_job_service"):
        logging.getLogger(f"apache_beam.runners.{name}").addFilter(is_news)


def _source(scenario: Scenario) -> Callable[[beam.Pipeline, str, Scenario], RawTables]:
    """The reader of the scenario's raw format; only that one is imported."""
    if scenario.pipeline.source == "search_log":
        from pipeline.sources.search_log import read_search_log

        return read_search_log
    from pipeline.sources.amazon import read_amazon, read_amazon_search

    return read_amazon if scenario.pipeline.source == "amazon" else read_amazon_search


def _build(pipeline: beam.Pipeline, scenario: Scenario, raw: RawTables, directory: Path) -> None:
    """Composes the job: resolve items, join by user, answer as-of numbers, make records, count values."""
    features = scenario.features
    items = AsSingleton(raw.items | "IndexItems" >> IndexItems(scenario))
    events = raw.events | "ResolveEvents" >> ResolveItems("events", items)
    resolved = raw.sessions | "ResolveSessions" >> ResolveItems("sessions", items)
    sessions = resolved.kept | "UniqueSessions" >> UniqueSessions(scenario)
    boundaries = sessions | "FindBoundaries" >> FindBoundaries(scenario.pipeline.split)
    log_end = AsSingleton((events.kept, sessions) | "FindLogEnd" >> FindLogEnd())

    tables = {"events": events.kept, "sessions": sessions, "users": raw.users}
    joined = tables | "JoinByUser" >> JoinByUser(scenario, items, AsSingleton(boundaries), log_end)
    as_of = (joined.sessions, events.kept) | "AnswerAsOf" >> AnswerAsOf(scenario, items, log_end)
    pairs = AsSingleton(joined.pairs | "GatherPairs" >> GatherBatches(PAIRS_SCHEMA, lambda batch: batch))
    records = (joined.sessions, as_of.answers) | "MakeRecords" >> MakeRecords(scenario, items, pairs)
    values = (
        records
        | "TakeTraining" >> beam.Filter(lambda element: element[0][0] == "train")
        | "DropKeys" >> beam.Values()
        | "CountValues" >> CountValues(scenario)
    )
    rejects = (raw.rejects, events.rejects, resolved.rejects, joined.rejects) | "AllRejects" >> beam.Flatten()

    _ = records | "WriteRecords" >> beam.ParDo(WriteRecords(directory, features, scenario.pipeline.shards))
    _ = (
        rejects
        | "KeyByTable" >> beam.Map(lambda reject: (reject.table, reject))
        | "GroupByTable" >> beam.GroupByKey()
        | "WriteRejects" >> beam.Map(_write_rejects, directory / REJECTS)
    )
    once = pipeline | "Once" >> beam.Create([directory])
    _ = once | "WriteAssets" >> beam.Map(_write_assets, features, AsList(values))
    _ = once | "WriteItems" >> beam.Map(_write_items, features, items)
    _ = once | "WriteAsOf" >> beam.Map(_write_as_of, features, items, AsList(as_of.at_end), AsList(joined.users))
    _ = once | "WriteCoPurchases" >> beam.Map(_write_co_purchases, features, items, pairs)
    _ = once | "WriteTimes" >> beam.Map(_write_times, AsSingleton(boundaries), log_end)


def _write_rejects(group: tuple[str, Iterable[Reject]], directory: Path) -> None:
    table, rejects = group
    directory.mkdir(exist_ok=True)
    with (directory / f"{table}.jsonl").open("w", encoding="utf-8") as file:
        for reject in sorted(rejects, key=lambda r: (r.file, r.reason, r.line)):
            count(f"rejected/{table}/{reject.reason}", 1)
            file.write(json.dumps(asdict(reject)) + "\n")


def _write_assets(directory: Path, features: Features, counts: list[tuple[str, pa.RecordBatch]]) -> None:
    """Vocabularies and statistics; without training records they are empty."""
    of = dict(counts)
    nothing = pa.RecordBatch.from_pydict({"value": pa.array([], pa.float64()), "count": pa.array([], pa.int64())})
    (directory / VOCABULARIES).mkdir()
    for name, table in features.tables.items():
        if table.hash_buckets is None:
            values = vocabulary(of.get(name, nothing), table)
            text = "".join(f"{value}\n" for value in values)
            (directory / VOCABULARIES / f"{name}.txt").write_text(text, encoding="utf-8")
    statistics = {
        feature.statistic: numeric_statistics(of.get(feature.statistic, nothing), feature.declaration)
        for feature in features.encoded
        if isinstance(feature.declaration, Numeric)
    }
    (directory / STATISTICS).write_text(dump_statistics(statistics), encoding="utf-8")


def _write_items(directory: Path, features: Features, items: pa.RecordBatch) -> None:
    _write_serving(directory, "items", items_table(features, ItemIndex(items)))


def _write_as_of(
    directory: Path,
    features: Features,
    items: pa.RecordBatch,
    at_end: list[tuple[str, pa.RecordBatch]],
    users: list[pa.RecordBatch],
) -> None:
    for entity, column in entity_columns(features).items():
        batches = [batch for name, batch in at_end if name == entity]
        names = ItemIndex(items).entities(column)
        _write_serving(directory, f"as_of_{entity}", as_of_table(features, entity, names, batches))
    if USER_ENTITY in entity_features(features.as_of):
        table = pa.Table.from_batches(users, users_at_end_schema(features))
        _write_serving(directory, f"as_of_{USER_ENTITY}", table.sort_by("user_id"))


def _write_co_purchases(directory: Path, features: Features, items: pa.RecordBatch, pairs: pa.RecordBatch) -> None:
    if any(as_of.measure == "bought_with" for as_of in features.as_of.values()):
        _write_serving(directory, "co_purchases", co_purchases_table(pairs, ItemIndex(items)))


def _write_serving(directory: Path, name: str, table: pa.Table) -> None:
    (directory / SERVING).mkdir(exist_ok=True)
    pq.write_table(table, directory / SERVING / f"{name}.parquet")


def _write_times(directory: Path, boundaries: tuple[int, int], log_end: int) -> None:
    times = {"split": {"validation_start": boundaries[0], "test_start": boundaries[1]}, "log_end": log_end}
    (directory / _TIMES).write_text(json.dumps(times), encoding="utf-8")


def _make_staging(target: Path, overwrite: bool) -> Path:
    """A directory beside the target, to work in."""
    try:
        _refuse_taken(target, overwrite)
        staging = target.with_name(f".{target.name}.incomplete-{os.getpid()}")
        staging.mkdir(parents=True)
    except OSError as error:
        raise InputError(f"{target}: cannot be made: {error.strerror}; choose another --output") from None
    return staging


def _refuse_taken(target: Path, overwrite: bool) -> None:
    if Path.cwd().is_relative_to(target):
        raise InputError(f"{target}: is the directory you are in or above it; --output is a directory of its own")
    if target.exists() and not target.is_dir():
        raise InputError(f"{target}: is a file; --output is a directory")
    names = {path.name for path in target.iterdir()} - {REJECTS} if target.exists() else set()
    if names and MANIFEST not in names:
        raise InputError(f"{target}: is not empty and holds no prepared data; choose another --output")
    if names and not overwrite:
        raise InputError(f"{target}: holds prepared data already; give --overwrite or another --output")


def _keep_rejects(staging: Path, target: Path) -> str:
    """Puts the rejects of a failed run where they can be read; gives the end of its message."""
    if not (staging / REJECTS).exists():
        return ""
    complete = (target / MANIFEST).exists()
    place = target.with_name(f"{target.name}.{REJECTS}") if complete else target / REJECTS
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(place, ignore_errors=True)
    (staging / REJECTS).rename(place)
    return f"; the rejected rows are in {place}"


def _complete(scenario: Scenario, staging: Path, counters: dict[str, int]) -> dict[str, Any]:
    """Writes what needs no data, the manifest last."""
    (staging / SCENARIO).write_text(dump_scenario(scenario), encoding="utf-8")
    (staging / SCHEMA).write_text(text_format.MessageToString(record_schema(scenario.features)), encoding="utf-8")
    times = json.loads((staging / _TIMES).read_text(encoding="utf-8"))
    (staging / _TIMES).unlink()
    manifest = {
        "format": 1,
        "scenario": scenario.name,
        "parts": {
            part: {
                "files": sorted(str(path.relative_to(staging)) for path in (staging / part).glob("*.tfrecord.gz")),
                **{what: counters.get(f"written/{part}/{what}", 0) for what in ("sessions", "candidates", "positives")},
            }
            for part in PARTS
        },
        "counters": counters,
        **times,
    }
    (staging / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return manifest


def _publish(staging: Path, target: Path) -> None:
    """The complete directory takes its name; what was there goes last, so a crash leaves one of both."""
    old = staging.with_name(staging.name + "-old")
    if target.exists():
        target.rename(old)
    staging.rename(target)
    shutil.rmtree(old, ignore_errors=True)
