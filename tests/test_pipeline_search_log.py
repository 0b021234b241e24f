"""Reading a search log's directory: formats, shards, what is missing and what is bad."""

import gzip
import json
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that, equal_to
from scheme_file_system import url_of
from small_log import Table, small_log, small_scenario, write_log

from pipeline.errors import InputError
from pipeline.raw_tables import RawTables, events_schema, items_schema, sessions_schema, users_schema
from pipeline.sources.search_log import read_search_log

SCENARIO = small_scenario()
LOG = small_log(users=4, items=5, sessions=6, events=8)


def assert_reads(
    directory: Path | str, expected: dict[str, Table], rejects: list[tuple[str, str, str]] | None = None
) -> None:
    """The directory gives these rows, in any order, and these rejects (table, reason, file name)."""
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        raw: RawTables = read_search_log(pipeline, str(directory), SCENARIO)
        for name, rows in expected.items():
            found = getattr(raw, name) | f"Rows {name}" >> beam.FlatMap(pa.RecordBatch.to_pylist)
            found = found | f"Text {name}" >> beam.Map(repr)  # NaN equals NaN
            assert_that(found, equal_to([repr(row) for row in rows]), label=f"Check {name}")
        told = raw.rejects | beam.Map(lambda reject: (reject.table, reject.reason, Path(reject.file).name))
        assert_that(told, equal_to(rejects or []), label="Check rejects")


def clean(log: dict[str, Table]) -> dict[str, Table]:
    """Rows as the raw tables have them."""

    def row(schema: pa.Schema, given: dict[str, Any]) -> dict[str, Any]:
        defaults = {name: float("nan") if schema.field(name).type == pa.float32() else "" for name in schema.names}
        return defaults | {name: value for name, value in given.items() if name in schema.names}

    features = SCENARIO.features
    sessions = [
        {
            **session,
            "candidates": [c["item_id"] for c in session["candidates"]],
            "clicked": [c["clicked"] for c in session["candidates"]],
            "purchased": [c["purchased"] for c in session["candidates"]],
            "new_item": False,
        }
        for session in log["sessions"]
    ]
    order = ["session_id", "user_id", "time", "candidates", "query", "clicked", "purchased", "new_item"]
    assert set(order) == set(sessions_schema(features).names)
    return {
        "items": [row(items_schema(features), item | {"tags": "|".join(item["tags"])}) for item in log["items"]],
        "users": [row(users_schema(features), user) for user in log["users"]],
        "events": [row(events_schema(), event) for event in log["events"]],
        "sessions": [{name: session[name] for name in order} for session in sessions],
    }


def test_json_lines_give_the_raw_tables(tmp_path: Path) -> None:
    assert_reads(write_log(tmp_path, LOG), clean(LOG))


def test_shards_gzip_and_parquet_give_the_same(tmp_path: Path) -> None:
    for name, rows in LOG.items():
        if name == "items":
            pq.write_table(pa.Table.from_pylist([{"rating": None, **row} for row in rows]), tmp_path / "items.parquet")
            continue
        for shard, part in enumerate((rows[:2], rows[2:])):
            lines = "".join(json.dumps(row) + "\r\n\n" for row in part).encode()
            (tmp_path / f"{name}-0000{shard}-of-00002.jsonl.gz").write_bytes(gzip.compress(lines))
    (tmp_path / "events_of_last_year.jsonl").write_text("no part of the log")
    assert_reads(tmp_path, clean(LOG))


def test_a_log_beyond_the_local_disk_is_read_alike(tmp_path: Path) -> None:
    assert_reads(url_of(write_log(tmp_path, LOG)), clean(LOG))


def test_a_directory_named_like_a_table_is_refused(tmp_path: Path) -> None:
    directory = write_log(tmp_path, LOG)
    (directory / "events-more.parquet").mkdir()
    (directory / "events-more.parquet" / "part-0.parquet").touch()
    for given, why in ((str(directory), "Is a directory"), (url_of(directory), "Is a directory|No such file")):
        with pytest.raises(Exception, match=rf"events-more.parquet: cannot be read, ({why})"):
            assert_reads(given, clean(LOG))


def test_users_may_be_absent(tmp_path: Path) -> None:
    expected = clean(LOG) | {"users": []}
    assert_reads(write_log(tmp_path, {name: rows for name, rows in LOG.items() if name != "users"}), expected)


def test_bad_rows_are_rejects(tmp_path: Path) -> None:
    bad: dict[str, Table] = {
        "items": [{"item_id": "x"}, {"item_id": "y", "price": -2}],
        "events": [LOG["events"][0] | {"action": "view"}],
        "sessions": [LOG["sessions"][0] | {"candidates": []}],
    }
    reasons = [
        ("items", "lacks `price`", "items.jsonl"),
        ("items", "`price` is negative", "items.jsonl"),
        ("events", "`action` is none of click, purchase", "events.jsonl"),
        ("sessions", "`candidates` is empty", "sessions.jsonl"),
    ]
    log = {name: rows + bad.get(name, []) for name, rows in LOG.items()}
    assert_reads(write_log(tmp_path, log), clean(LOG), reasons)


def test_a_missing_directory_or_table_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere: no such directory; it should hold items, users, events"):
        read_search_log(beam.Pipeline(runner=FnApiRunner()), str(tmp_path / "nowhere"), SCENARIO)
    write_log(tmp_path, {"items": []})
    with pytest.raises(InputError, match=r"has no events; expected events.jsonl, .jsonl.gz or .parquet"):
        read_search_log(beam.Pipeline(runner=FnApiRunner()), str(tmp_path), SCENARIO)
