"""Runs the job: a raw log in, a directory of prepared data out (`pipeline/prepared_data.py` shows it)."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
import pyarrow as pa
from google.protobuf import text_format

from pipeline.balance import balance, why_unbalanced
from pipeline.beam_pipeline import beam_pipeline, shuffles_in_memory
from pipeline.column_counts import add_up_counts, unpack_counts
from pipeline.config import FEWEST_SHARDS, Scenario
from pipeline.copy_encoding_assets import copy_encoding_assets
from pipeline.counters import read_counters
from pipeline.data_statistics import STATISTICS_FILE, data_statistics, dump_data_statistics
from pipeline.days import DateRange
from pipeline.encoding_assets import STATISTICS, VOCABULARIES, dump_statistics
from pipeline.errors import InputError
from pipeline.features import Features
from pipeline.folder import Folder
from pipeline.job import TIMES, Job, build_job
from pipeline.output import Output
from pipeline.prepared_data import FORMAT, SCENARIO, SCHEMA, Part
from pipeline.raw_tables import RawTables
from pipeline.records import record_schema
from pipeline.run_pipeline import run_pipeline
from pipeline.scenario_file import dump_scenario
from pipeline.value_counts import numeric_statistics, vocabularies
from pipeline.why_unusable import why_unusable

#: Bytes of the raw log for one shard of users: a few hundred MB in a worker's memory.
_SHARD_BYTES = 8 * 2**20


def preprocess(
    scenario: Scenario,
    input_path: str,
    output: str,
    *,
    pipeline_args: Sequence[str] = (),
    overwrite: bool = False,
    days: DateRange | None = None,
    vocabularies_from: str | None = None,
) -> dict[str, Any]:
    """Turns a raw log into prepared data.

    Input and output are paths on any file system that Beam knows. Readers see the output once
    it is complete. A run that fails by what is in the log leaves its rejects.

    Args:
        scenario: what to build, and which source reads `input_path`.
        input_path: the raw log's directory.
        output: the directory to make.
        pipeline_args: Beam options; without a `--runner` the job runs in this process.
        overwrite: replace prepared data that is already there.
        days: make records of the sessions of these days; in an output that holds prepared data
            they are added or redone, and other days stay as they are.
        vocabularies_from: prepared data or a run directory whose vocabularies and statistics
            are taken; default: those of all training days of the output.

    Returns:
        The manifest.

    Raises:
        InputError: the input cannot be used, or `output` is taken; one clear line.
    """
    if days is not None and scenario.pipeline.partition_by == "none":
        raise InputError("--date-range: needs records by day; set pipeline.partition_by to `day`")
    if days is not None and scenario.pipeline.source == "amazon":
        raise InputError("--date-range: a user's last review is known at the log's end only; use source: amazon_search")
    pipeline = beam_pipeline(pipeline_args)  # first: its options say how file systems are reached
    place = Output.open(output, scenario, overwrite=overwrite, days=days)
    try:
        if vocabularies_from is not None:
            copy_encoding_assets(vocabularies_from, place.target, scenario.features)
        sized = _with_shards(scenario, input_path)
        counters = _run_job(pipeline, sized, input_path, place, days)
        rows, parts = balance(counters), place.parts(days)
        frozen, is_addition = vocabularies_from is not None, place.manifest is not None
        if reason := why_unusable(scenario, counters, parts, frozen=frozen, is_addition=is_addition):
            rejects = place.discard()
            raise InputError(f"{input_path}: {reason}{f'; the rejected rows are in {rejects}' if rejects else ''}")
        new_days = [
            day for part in parts.values() for day in part["days"].values() if day["counts"].startswith(place.revision)
        ]
        reason = why_unbalanced(
            rows,
            sessions_counted=sum(day["sessions"] for day in new_days),
            files_made=sum(counters.get(f"written/{part}/files", 0) for part in parts),
            files_found=sum(len(day["files"]) for day in new_days),
        )
        if reason:
            raise InputError(f"{input_path}: the counters do not add up, nothing is published: {reason}; run again")
        run = {
            "revision": place.revision,
            "input": input_path,
            "date_range": str(days) if days else None,
            "shards": sized.pipeline.join_shards,
            "balance": rows,
            "counters": counters,
        }
        manifest = _complete(scenario, place, parts, run, frozen=frozen)
        place.publish(manifest)
    except BaseException:
        with contextlib.suppress(OSError):  # the first error says more
            place.discard()
        raise
    place.delete_leftovers(manifest)
    return manifest


def _with_shards(scenario: Scenario, input_path: str) -> Scenario:
    """The scenario with a number of shards, by the size of the log's files where it leaves that open."""
    if scenario.pipeline.shards is not None:
        return scenario
    try:
        size = Folder.at(input_path).size()
    except (OSError, ValueError):  # the source will say what is wrong with it
        size = 0
    shards = max(FEWEST_SHARDS, -(-size // _SHARD_BYTES))
    return scenario.model_copy(update={"pipeline": scenario.pipeline.model_copy(update={"shards": shards})})


def _run_job(
    pipeline: beam.Pipeline, scenario: Scenario, input_path: str, place: Output, days: DateRange | None
) -> dict[str, int]:
    boundaries = place.boundaries(scenario.pipeline.split, days)
    with _spill(place, needed=shuffles_in_memory(pipeline)) as spill:
        raw = _source(scenario)(pipeline, input_path, scenario, spill)
        build_job(pipeline, scenario, raw, Job(place.target, days, boundaries, spill))
        result = run_pipeline(pipeline)
    return read_counters(result)


@contextlib.contextmanager
def _spill(place: Output, *, needed: bool) -> Iterator[str | None]:
    """A directory for what waits for its group, beside the output where that is local: there is room for it."""
    if not needed:
        yield None
        return
    beside = None
    if place.target.is_local:
        beside = place.target.path
        place.target.make()
    with tempfile.TemporaryDirectory(prefix=".spill-", dir=beside, ignore_cleanup_errors=True) as directory:
        yield directory


def _source(scenario: Scenario) -> Callable[[beam.Pipeline, str, Scenario, str | None], RawTables]:
    """The reader of the scenario's raw format; only that one is imported."""
    if scenario.pipeline.source == "search_log":
        from pipeline.sources.search_log import read_search_log

        return read_search_log
    if scenario.pipeline.source == "trivago":
        from pipeline.sources.trivago import read_trivago

        return read_trivago
    from pipeline.sources.amazon import read_amazon, read_amazon_search

    return read_amazon if scenario.pipeline.source == "amazon" else read_amazon_search


def _complete(
    scenario: Scenario, place: Output, parts: dict[Part, dict[str, Any]], run: dict[str, Any], *, frozen: bool
) -> dict[str, Any]:
    """Writes what is of all days, and gives the manifest."""
    target, features, old = place.target, scenario.features, place.manifest
    counts = {part: unpack_counts(_add_up_days(place, described["days"])) for part, described in parts.items()}
    run["warnings"] = []
    if not run["counters"].get("kept/sessions"):
        run["warnings"].append("no session of these days became a record: they are empty now")
    if not frozen:
        for table, values in vocabularies(features, counts["train"]).items():
            target.write(f"{VOCABULARIES}/{table}.txt", "".join(f"{value}\n" for value in values).encode())
            if not values:
                run["warnings"].append(_empty_table(features, table))
        target.write(STATISTICS, dump_statistics(numeric_statistics(features, counts["train"])).encode())
    target.write(STATISTICS_FILE, dump_data_statistics(data_statistics(features, counts)))
    target.write(SCENARIO, dump_scenario(scenario).encode())
    target.write(SCHEMA, text_format.MessageToString(record_schema(features)).encode())
    times = json.loads(target.read(TIMES))
    # Redoing an early day from a log that ends there must not take serving back in time.
    is_latest = old is None or times["log_end"] >= old["log_end"]
    return {
        "format": FORMAT,
        "scenario": scenario.name,
        "latest": place.revision,
        "serving": place.revision if is_latest or old is None else old["serving"],
        "log_end": times["log_end"] if is_latest or old is None else old["log_end"],
        "split": times["split"],
        "parts": parts,
        "runs": [*(old["runs"] if old else []), run],
    }


def _add_up_days(place: Output, days: Mapping[str, Mapping[str, Any]]) -> pa.RecordBatch:
    """The counts of some days together; at no time are two days in memory beside the sum."""
    total = add_up_counts([])
    for day in days.values():
        total = add_up_counts([total, place.counts(day["counts"])])
    return total


def _empty_table(features: Features, table: str) -> str:
    """What to say of a vocabulary without values: most likely a misspelt column."""
    columns = sorted({f"`{feature.column}`" for feature in features.encoded if feature.table == table})
    return f"table `{table}` is empty: the training part has no value of {', '.join(columns)}, or none often enough"
