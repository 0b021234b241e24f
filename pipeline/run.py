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
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.pvalue import AsList, AsSingleton
from google.protobuf import text_format

from pipeline.as_of import entity_features
from pipeline.batches import GatherBatches
from pipeline.co_purchases import PAIRS_SCHEMA
from pipeline.config import Scenario, dump_scenario
from pipeline.counters import count, read_counters
from pipeline.encoding_assets import STATISTICS, VOCABULARIES, dump_statistics
from pipeline.errors import InputError
from pipeline.features import USER_ENTITY, Features, Numeric
from pipeline.item_index import ItemIndex
from pipeline.prepared_data import MANIFEST, PARTS, SCENARIO, SERVING
from pipeline.raw_tables import RawTables, Reject
from pipeline.records import record_schema
from pipeline.serving_tables import as_of_table, co_purchases_table, items_table
from pipeline.steps.answer_as_of import AnswerAsOf
from pipeline.steps.count_values import CountValues
from pipeline.steps.find_split import FindBoundaries, FindLogEnd
from pipeline.steps.index_items import IndexItems, entity_columns
from pipeline.steps.join_by_user import JoinByUser
from pipeline.steps.make_records import MakeRecords
from pipeline.steps.resolve_items import ResolveItems
from pipeline.value_counts import numeric_statistics, vocabulary
from pipeline.write_records import WriteRecords

REJECTS = "rejects"
#: Carries times from the job to the manifest.
_TIMES = ".times.json"
SCHEMA = "schema.pbtxt"
#: Beam's own default may download another runner.
_LOCAL_RUNNER = "--runner=apache_beam.runners.portability.fn_api_runner.FnApiRunner"


def preprocess(
    scenario: Scenario,
    input_path: str,
    output: str,
    *,
    pipeline_args: Sequence[str] = (),
    overwrite: bool = False,
) -> dict[str, Any]:
    """Turns a raw log into prepared data.

    The output directory appears only when it is complete, except that `rejects/` is left
    there when too many rows were rejected.

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
    target = Path(output)
    _refuse_taken(target, overwrite)
    staging = target.with_name(f".{target.name}.incomplete-{os.getpid()}")
    try:
        staging.mkdir(parents=True)
        counters = _run_job(scenario, input_path, staging, pipeline_args)
        _refuse_unusable(scenario, input_path, target, staging, counters)
        manifest = _complete(scenario, staging, counters)
        _publish(staging, target)
        return manifest
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _run_job(scenario: Scenario, input_path: str, directory: Path, pipeline_args: Sequence[str]) -> dict[str, int]:
    _quiet_beam()
    named = any(argument.startswith("--runner") for argument in pipeline_args)
    options = PipelineOptions([*([] if named else [_LOCAL_RUNNER]), *pipeline_args])
    pipeline = beam.Pipeline(options=options)
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
        return not (record.exc_info and isinstance(record.exc_info[1], InputError))

    logging.getLogger("apache_beam").setLevel(logging.WARNING)
    for name in ("apache_beam.runners.common", "apache_beam.runners.worker.sdk_worker"):
        logging.getLogger(name).addFilter(is_news)


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
    sessions = raw.sessions | "ResolveSessions" >> ResolveItems("sessions", items)
    boundaries = sessions.kept | "FindBoundaries" >> FindBoundaries(scenario.pipeline.split)
    log_end = AsSingleton((events.kept, sessions.kept) | "BothInTime" >> beam.Flatten() | "FindLogEnd" >> FindLogEnd())

    tables = {"events": events.kept, "sessions": sessions.kept, "users": raw.users}
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
    rejects = (raw.rejects, events.rejects, sessions.rejects, joined.rejects) | "AllRejects" >> beam.Flatten()

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
            file.write(json.dumps({"reason": reject.reason, "file": reject.file, "line": reject.line}) + "\n")


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
        _write_serving(directory, f"as_of_{USER_ENTITY}", pa.Table.from_batches(users).sort_by("user_id"))


def _write_co_purchases(directory: Path, features: Features, items: pa.RecordBatch, pairs: pa.RecordBatch) -> None:
    if any(as_of.measure == "bought_with" for as_of in features.as_of.values()):
        _write_serving(directory, "co_purchases", co_purchases_table(pairs, ItemIndex(items)))


def _write_serving(directory: Path, name: str, table: pa.Table) -> None:
    (directory / SERVING).mkdir(exist_ok=True)
    pq.write_table(table, directory / SERVING / f"{name}.parquet")


def _write_times(directory: Path, boundaries: tuple[int, int], log_end: int) -> None:
    times = {"split": {"validation_start": boundaries[0], "test_start": boundaries[1]}, "log_end": log_end}
    (directory / _TIMES).write_text(json.dumps(times), encoding="utf-8")


def _refuse_taken(target: Path, overwrite: bool) -> None:
    if target.exists() and not target.is_dir():
        raise InputError(f"{target}: is a file; --output is a directory")
    names = {path.name for path in target.iterdir()} - {REJECTS} if target.exists() else set()
    if names and MANIFEST not in names:
        raise InputError(f"{target}: is not empty and holds no prepared data; choose another --output")
    if names and not overwrite:
        raise InputError(f"{target}: holds prepared data already; give --overwrite or another --output")


def _refuse_unusable(
    scenario: Scenario, input_path: str, target: Path, staging: Path, counters: dict[str, int]
) -> None:
    """What the finished job's counters say against its output."""
    limit = scenario.pipeline.max_reject_share
    for table, reasons in _rejected(counters).items():
        rejected = sum(reasons.values())
        rows = max(counters.get(f"read/{table}", 0), counters.get(f"rows/{table}", 0), rejected)
        if rejected > limit * rows:
            target.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(target / REJECTS, ignore_errors=True)
            (staging / REJECTS).rename(target / REJECTS)
            top = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))[:5]
            raise InputError(
                f"{input_path}: {rejected} of {rows} rows of {table} are rejected ({rejected / rows:.1%}), more than "
                f"pipeline.max_reject_share allows ({limit:.1%}): "
                f"{', '.join(f'{reason} ({times})' for reason, times in top)}; the rows are in {target / REJECTS}"
            )
    for table in ("items", "sessions"):
        if not counters.get(f"kept/{table}"):
            raise InputError(f"{input_path}: has no {table}; the log is empty")
    if not counters.get("written/train/sessions"):
        raise InputError(
            f"{input_path}: the training part has no session with a {scenario.pipeline.label} item "
            f"({counters.get('dropped/sessions/no positive', 0)} sessions without one); "
            "give a larger log, or change pipeline.label or pipeline.split"
        )


def _rejected(counters: dict[str, int]) -> dict[str, dict[str, int]]:
    """Rejected rows by table and reason."""
    found: dict[str, dict[str, int]] = {}
    for name, value in counters.items():
        if name.startswith("rejected/"):
            _, table, reason = name.split("/", 2)
            found.setdefault(table, {})[reason] = value
    return found


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
