"""The whole job on a small log: its records against an obvious reference, its files, its failures."""

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from counters_add_up import assert_adds_up
from google.protobuf import text_format
from prepared_records import comparable_records, read_records
from read_rejects import read_rejects
from small_log import START, Table, expected_records, small_log, small_scenario, write_log
from tensorflow_metadata.proto.v0 import schema_pb2

from pipeline.data_statistics import STATISTICS_FILE, load_data_statistics
from pipeline.errors import InputError
from pipeline.prepared_data import PARTS, PreparedData
from pipeline.records import record_specs
from pipeline.run import preprocess
from pipeline.scenario_file import load_scenario, parse_scenario
from pipeline.steps import plan_slices

LOG = small_log()
EXPECTED = expected_records(LOG)
SCENARIO = small_scenario()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    directory = tmp_path_factory.mktemp("run")
    preprocess(SCENARIO, str(write_log(directory / "log", LOG)), str(directory / "out"))
    return PreparedData.open(directory / "out")


def group(record: dict[str, Any], prefix: str, size: int) -> list[dict[str, Any]]:
    """The tensors of a group as one mapping an element."""
    fields = {
        name.removeprefix(prefix): values
        for name, values in record.items()
        if name.startswith(prefix) and not name.endswith("_count")
    }
    assert {len(values) for values in fields.values()} == {size}
    return [{field: values[i] for field, values in fields.items()} for i in range(size)]


def assert_same(found: dict[str, Any], expected: dict[str, Any], where: str) -> None:
    assert found.keys() == expected.keys(), where
    for name, value in expected.items():
        if isinstance(value, str):
            assert found[name] == value, f"{where}: {name}"
        else:
            np.testing.assert_allclose(found[name], value, rtol=1e-6, err_msg=f"{where}: {name}")


def test_every_record_equals_the_reference(prepared: PreparedData) -> None:
    seen = set()
    for part in PARTS:
        for session, record in read_records(prepared, SCENARIO.features, part).items():
            expected = EXPECTED[session]
            seen.add(session)
            for name in ("user_id", "time"):
                assert record[name] == expected[name]
            assert record["query_terms"] == expected["terms"]
            assert record["user_age_group"] == expected["age_group"]
            assert record["user_activity"] == expected["activity"]
            behaviors = group(record, "behavior_", int(record["behavior_count"]))
            assert len(behaviors) == len(expected["behaviors"]), session
            for place, (found, wanted) in enumerate(zip(behaviors, expected["behaviors"], strict=True)):
                assert_same(found, wanted, f"{session} behaviour {place}")
            for found in group(record, "candidate_", int(record["candidate_count"])):
                assert_same(found, expected["candidates"][found["item_id"]], f"{session} {found['item_id']}")
    with_positive = {s for s, r in EXPECTED.items() if any(c["label"] for c in r["candidates"].values())}
    assert seen >= with_positive


def test_parts_are_in_time_and_only_training_is_sampled(prepared: PreparedData) -> None:
    records = {part: read_records(prepared, SCENARIO.features, part) for part in PARTS}
    split = prepared.manifest["split"]
    assert max(r["time"] for r in records["train"].values()) < split["validation_start"]
    assert all(split["validation_start"] <= r["time"] < split["test_start"] for r in records["validation"].values())
    assert min(r["time"] for r in records["test"].values()) >= split["test_start"]
    for part in ("validation", "test"):
        start, end = {
            "validation": (split["validation_start"], split["test_start"]),
            "test": (split["test_start"], np.inf),
        }[part]
        assert set(records[part]) == {s for s, r in EXPECTED.items() if start <= r["time"] < end}
        for session, record in records[part].items():
            assert set(record["candidate_item_id"]) == set(EXPECTED[session]["candidates"])
    for session, record in records["train"].items():
        shown = [c["label"] for c in EXPECTED[session]["candidates"].values()]
        positives = int(sum(shown))
        assert positives > 0
        assert record["candidate_label"].sum() == positives
        assert record["candidate_count"] == positives + min(positives, len(shown) - positives)


def test_the_manifest_counts_what_is_there(prepared: PreparedData) -> None:
    manifest = prepared.manifest
    assert (manifest["format"], manifest["scenario"]) == (2, "small")
    for part in PARTS:
        records = read_records(prepared, SCENARIO.features, part).values()
        described = {name: value for name, value in manifest["parts"][part].items() if name != "days"}
        assert described == {
            "sessions": len(records),
            "candidates": sum(int(r["candidate_count"]) for r in records),
            "positives": sum(int(r["candidate_label"].sum()) for r in records),
        }
    counters = manifest["runs"][-1]["counters"]
    assert {name: counters[f"read/{name}"] for name in LOG} == {name: len(rows) for name, rows in LOG.items()}
    written = sum(prepared.sessions(part) for part in PARTS)
    assert written == counters["kept/sessions"] == len(LOG["sessions"]) - counters["dropped/sessions/no positive"]
    assert_adds_up(counters)
    assert manifest["log_end"] == 1 + max(row["time"] for row in LOG["events"] + LOG["sessions"])


def test_assets_come_from_the_training_part_only(prepared: PreparedData) -> None:
    assets = prepared.assets(SCENARIO.features)
    records = read_records(prepared, SCENARIO.features, "train").values()
    brands = np.concatenate([np.append(r["behavior_maker"], r["candidate_maker"]) for r in records]).tolist()
    counts = {brand: brands.count(brand) for brand in set(brands) - {""}}
    assert assets.vocabulary("brand") == sorted((b for b in counts if counts[b] >= 2), key=lambda b: (-counts[b], b))
    assert set(assets.vocabulary("tag")) == {"t0", "t1", "t2"}
    assert "word" in assets.vocabulary("term")
    prices = np.log1p(np.concatenate([np.append(r["behavior_price"], r["candidate_price"]) for r in records]))
    statistics = assets.numeric["item_price"]
    assert statistics.mean == pytest.approx(prices.mean(), rel=1e-3)
    assert statistics.std == pytest.approx(prices.std(), rel=1e-3)
    assert statistics.boundaries == pytest.approx(np.quantile(prices, [1 / 3, 2 / 3], method="inverted_cdf"), rel=1e-3)
    assert set(assets.numeric) >= {"as_of_sales", "as_of_with", "behavior_age_days", "item_rating"}


def test_statistics_describe_every_part(prepared: PreparedData) -> None:
    for dataset in load_data_statistics(prepared.latest).datasets:
        described = prepared.manifest["parts"][dataset.name]
        assert dataset.num_examples == described["sessions"]
        if described["sessions"]:
            records = read_records(prepared, SCENARIO.features, dataset.name).values()
            of = {feature.name: feature for feature in dataset.features}
            makers = np.concatenate([r["behavior_maker"] for r in records]).tolist()
            text = of["behavior_maker"].string_stats
            assert {b.label: b.sample_count for b in text.rank_histogram.buckets} == {
                maker: makers.count(maker) for maker in set(makers) - {""}
            }
            assert text.common_stats.num_missing == makers.count("")
            rate = described["positives"] / described["candidates"]
            assert of["candidate_label"].num_stats.mean == pytest.approx(rate)
            ratings = np.concatenate([r["candidate_rating"] for r in records])
            assert of["candidate_rating"].num_stats.mean == pytest.approx(np.nanmean(ratings), rel=1e-3)
            assert of["candidate_rating"].num_stats.common_stats.num_missing == np.isnan(ratings).sum()


def test_the_serving_tables_are_as_of_the_logs_end(prepared: PreparedData) -> None:
    serving = prepared.serving
    end = prepared.manifest["log_end"]
    at_end = {**LOG, "sessions": [{**LOG["sessions"][0], "time": end, "candidates": _all_shown()}]}
    (expected,) = expected_records(at_end).values()
    items = {row["item_id"]: row for row in pq.read_table(serving / "items.parquet").to_pylist()}
    sales = {row["item_id"]: row for row in pq.read_table(serving / "as_of_item_id.parquet").to_pylist()}
    makers = {row["maker"]: row for row in pq.read_table(serving / "as_of_maker.parquet").to_pylist()}
    assert len(items) == len(sales) == len(expected["candidates"])
    for item, values in expected["candidates"].items():
        declared = ("item_id", "maker", "tags", "price", "rating")
        assert_same(items[item], {"title": f"Item {item[1:]}", **{f: values[f] for f in declared}}, item)
        assert_same(sales[item], {"item_id": item, **{f: values[f] for f in ("sales", "item_age")}}, item)
        if values["maker"]:
            assert makers[values["maker"]]["maker_clicks_2d"] == values["maker_clicks_2d"]
    activity = {row["user_id"]: row["activity"] for row in pq.read_table(serving / "as_of_user.parquet").to_pylist()}
    assert activity == {user: sum(e["user_id"] == user for e in LOG["events"]) for user in activity}
    assert set(activity) == {e["user_id"] for e in LOG["events"]}
    pairs = pq.read_table(serving / "co_purchases.parquet").to_pylist()
    together = {(row["item_id"], row["other_item_id"]): row["count"] for row in pairs}
    behaviors = {behavior["item_id"] for behavior in expected["behaviors"]}
    for item, values in expected["candidates"].items():
        assert values["with"] == sum(together.get((item, behavior), 0) for behavior in behaviors - {item})


def _all_shown() -> list[dict[str, Any]]:
    return [{"item_id": row["item_id"], "purchased": False} for row in LOG["items"]]


def test_the_directory_describes_itself(prepared: PreparedData) -> None:
    assert load_scenario(prepared.scenario_path) == SCENARIO
    schema = text_format.Parse((prepared.latest / "schema.pbtxt").read_text(), schema_pb2.Schema())
    assert [f.name for f in schema.feature] == [spec.name for spec in record_specs(SCENARIO.features)]
    assert not (prepared.latest / "rejects").exists()
    assert list(prepared.directory.rglob(".*")) == []


def test_the_order_of_the_log_changes_nothing(prepared: PreparedData, tmp_path: Path) -> None:
    shuffled = {name: [rows[i] for i in np.random.default_rng(1).permutation(len(rows))] for name, rows in LOG.items()}
    preprocess(SCENARIO, str(write_log(tmp_path / "log", shuffled)), str(tmp_path / "out"))
    other = PreparedData.open(tmp_path / "out")
    files = sorted(path.relative_to(prepared.latest) for path in prepared.latest.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(other.latest) for path in other.latest.rglob("*") if path.is_file())
    for name in files:
        assert _content(other.latest / name) == _content(prepared.latest / name), name
    manifests = [json.loads(json.dumps(d.manifest).replace(d.latest.name, "revision")) for d in (prepared, other)]
    for manifest in manifests:
        manifest["runs"][0]["input"] = None
    assert manifests[0] == manifests[1]


@pytest.mark.parametrize(
    ("shards", "requests", "workers"),
    [(1, 10**6, ()), (7, 3, ()), (3, 10**6, ("--direct_num_workers=2",))],
    ids=["one shard", "many shards and slices", "two worker processes"],
)
def test_how_the_work_is_cut_changes_nothing(
    prepared: PreparedData,
    shards: int,
    requests: int,
    workers: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(plan_slices, "_REQUESTS", requests)
    log = str(write_log(tmp_path / "log", LOG))
    preprocess(small_scenario(shards=shards), log, str(tmp_path / "out"), pipeline_args=workers)
    other = PreparedData.open(tmp_path / "out")
    assert comparable_records(other, SCENARIO.features) == comparable_records(prepared, SCENARIO.features)
    assert other.assets(SCENARIO.features).numeric == prepared.assets(SCENARIO.features).numeric
    for table in SCENARIO.features.tables:
        assert other.assets(SCENARIO.features).vocabulary(table) == prepared.assets(SCENARIO.features).vocabulary(table)
    assert (other.latest / STATISTICS_FILE).read_bytes() == (prepared.latest / STATISTICS_FILE).read_bytes()


def _content(path: Path) -> Any:
    """A file's bytes; of records the messages, as their encoder writes a map's entries in no certain order."""
    if path.suffix != ".gz":
        return path.read_bytes()
    records = tf.data.TFRecordDataset(str(path), compression_type="GZIP")
    return [tf.train.Example.FromString(record.numpy()) for record in records]


def test_bad_rows_are_left_out_with_their_reasons(tmp_path: Path) -> None:
    log = {**LOG, "items": [*LOG["items"], LOG["items"][3] | {"price": -1}, LOG["items"][4] | {"title": "Other"}]}
    log["events"] = [*LOG["events"], LOG["events"][0] | {"item_id": "gone"}, LOG["events"][0] | {"time": "soon"}]
    lost = {"session_id": "lost", "candidates": [{"item_id": "i1"}, {"item_id": "gone"}]}
    repeated = LOG["sessions"][0] | {"candidates": LOG["sessions"][0]["candidates"] * 2}
    log["sessions"] = [repeated, *LOG["sessions"][1:], LOG["sessions"][0] | lost, LOG["sessions"][9] | {"query": "~"}]
    log["users"] = [*LOG["users"], LOG["users"][0], {"age_group": "nobody"}]
    output = tmp_path / "out"
    manifest = preprocess(small_scenario(max_reject_share=0.1), str(write_log(tmp_path / "log", log)), str(output))
    counters = manifest["runs"][0]["counters"]
    assert {name: value for name, value in counters.items() if name.startswith("rejected/")} == {
        "rejected/events/`time` is no time": 1,
        "rejected/events/unknown item": 1,
        "rejected/items/`price` is negative": 1,
        "rejected/sessions/unknown item": 1,
        "rejected/users/lacks `user_id`": 1,
    }
    assert {table: counters[f"dropped/{table}/duplicate"] for table in ("items", "sessions", "users")} == {
        "items": 1,
        "sessions": 1,
        "users": 1,
    }
    assert_adds_up(counters)
    assert counters["dropped/candidates/duplicate"] == len(LOG["sessions"][0]["candidates"])
    assert manifest["parts"]["test"]["sessions"] > 0
    (reject,) = read_rejects(output, "sessions")
    row = json.loads(reject.pop("line"))
    assert reject == {"table": "sessions", "file": "", "reason": "unknown item"}
    assert (row["session_id"], row["candidates"], "new_item" in row) == ("lost", ["i1", "gone"], False)
    rejects = {reject["reason"]: reject for reject in read_rejects(output, "events")}
    assert rejects["`time` is no time"] == {
        "table": "events",
        "file": str(tmp_path / "log" / "events.jsonl"),
        "reason": "`time` is no time",
        "line": json.dumps(log["events"][-1]),
    }


def test_as_of_features_may_be_called_like_columns_of_the_join(prepared: PreparedData, tmp_path: Path) -> None:
    names = {"sales": "place", "item_age": "code", "maker_clicks_2d": "shard", "activity": "time"}
    raw = SCENARIO.model_dump(mode="json", exclude_defaults=True)
    raw["features"]["as_of"] = {names.get(name, name): value for name, value in raw["features"]["as_of"].items()}
    del raw["features"]["as_of"]["with"]
    preprocess(parse_scenario(raw, "renamed"), str(write_log(tmp_path / "log", LOG)), str(tmp_path / "out"))
    other = PreparedData.open(tmp_path / "out")
    for table, old, new in (
        ("item_id", "sales", "place"),
        ("item_id", "item_age", "code"),
        ("user", "activity", "time"),
    ):
        tables = [pq.read_table(data.serving / f"as_of_{table}.parquet") for data in (prepared, other)]
        assert tables[0][old].equals(tables[1][new]), new
    statistics = [prepared.assets(SCENARIO.features).numeric]
    statistics.append(other.assets(parse_scenario(raw, "renamed").features).numeric)
    for old, new in names.items():
        assert statistics[0][f"as_of_{old}"] == statistics[1][f"as_of_{new}"], new


def _without(table: str) -> dict[str, Any]:
    return {name: rows for name, rows in LOG.items() if name != table}


def _nothing_bought() -> dict[str, Any]:
    return {**LOG, "sessions": [s | {"candidates": [{"item_id": "i1"}]} for s in LOG["sessions"]]}


def _within_one_hour() -> dict[str, Any]:
    return {**LOG, "sessions": [s | {"time": START + n} for n, s in enumerate(LOG["sessions"])]}


@pytest.mark.parametrize(
    ("log", "message"),
    [
        ({}, r"has no items; expected items.jsonl"),
        (_without("sessions"), r"has no sessions; expected sessions.jsonl"),
        ({name: [] for name in LOG}, "has no items; the log is empty"),
        ({**LOG, "sessions": []}, "has no sessions; the log is empty"),
        (_nothing_bought(), r"the training part has no session with a purchased item \(36 sessions without one"),
        (_within_one_hour(), "the test part has no session: the log spans too little time"),
    ],
    ids=["no files", "no table", "empty log", "no sessions", "no positives", "one hour"],
)
def test_an_unusable_log_is_one_clear_line_and_leaves_nothing(log: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        preprocess(SCENARIO, str(write_log(tmp_path / "log", log)), str(tmp_path / "out"))
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


def test_a_log_of_bad_rows_only_is_one_clear_line_with_its_reasons(tmp_path: Path) -> None:
    log: dict[str, Table] = {
        "items": LOG["items"],
        "events": [{"user_id": ""}],
        "users": [{}],
        "sessions": [{"session_id": "s"}],
    }
    scenario = small_scenario(max_reject_share=1)
    with pytest.raises(InputError, match="has no usable sessions; left out: events: `user_id` is empty") as told:
        preprocess(scenario, str(write_log(tmp_path / "log", log)), str(tmp_path / "out"))
    assert "sessions: lacks `user_id` (1), users: lacks `user_id` (1); the rejected rows are in" in str(told.value)
    for table in ("events", "users", "sessions"):
        assert len(read_rejects(tmp_path / "out", table)) == 1


def test_sessions_of_users_without_a_required_number_are_counted(tmp_path: Path) -> None:
    raw = small_scenario(max_reject_share=1).model_dump(mode="json", exclude_defaults=True)
    raw["features"]["user"]["income"] = {"kind": "numeric"}
    users = [user | {"income": 2.5} for user in LOG["users"][:-1]] + LOG["users"][-1:]
    source = write_log(tmp_path / "log", {**LOG, "users": users})
    counters = preprocess(parse_scenario(raw, "small"), str(source), str(tmp_path / "out"))["runs"][0]["counters"]
    assert counters["rejected/users/lacks `income`"] == 1
    lost = sum(session["user_id"] in ("u10", "u11") for session in LOG["sessions"])
    assert counters["rejected/sessions/user without a required number"] == lost > 0
    assert_adds_up(counters)


def test_too_many_rejects_fail_with_the_top_reasons_and_keep_the_rows(tmp_path: Path) -> None:
    log = {**LOG, "events": [*LOG["events"], *[LOG["events"][0] | {"item_id": "gone"}] * 5]}
    with pytest.raises(
        InputError, match=r"5 of 255 rows of events are rejected \(2.0%\).*\(1.0%\): unknown item \(5\)"
    ):
        preprocess(SCENARIO, str(write_log(tmp_path / "log", log)), str(tmp_path / "out"))
    assert {path.parent.name for path in (tmp_path / "out").rglob("*") if path.is_file()} == {"rejects"}
    assert len(read_rejects(tmp_path / "out", "events")) == 5
    with pytest.raises(InputError, match="no manifest"):
        PreparedData.open(tmp_path / "out")


def test_a_failed_overwrite_leaves_the_prepared_data_alone(prepared: PreparedData, tmp_path: Path) -> None:
    output = tmp_path / "out"
    shutil.copytree(prepared.directory, output)
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*") if path.is_file()}
    log = {**LOG, "events": [*LOG["events"], *[LOG["events"][0] | {"item_id": "gone"}] * 5]}
    with pytest.raises(InputError, match=f"the rejected rows are in {tmp_path}/out/revision-00002-.*/rejects"):
        preprocess(SCENARIO, str(write_log(tmp_path / "log", log)), str(output), overwrite=True)
    after = {path: path.stat().st_mtime_ns for path in output.rglob("*") if path.is_file()}
    assert {path: time for path, time in after.items() if "/rejects/" not in str(path)} == before
    assert len(read_rejects(output, "events")) == 5


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("users.parquet", b"nothing of the kind"),
        ("users.jsonl.gz", gzip.compress(json.dumps(LOG["users"][0]).encode() * 9)[:-12]),
    ],
    ids=["no Parquet", "cut short"],
)
def test_a_damaged_file_is_one_clear_line(
    name: str, content: bytes, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_log(tmp_path / "log", LOG)
    (tmp_path / "log" / "users.jsonl").unlink()
    (tmp_path / "log" / name).write_bytes(content)
    with pytest.raises(InputError, match=rf"{name}: cannot be read, is it damaged\?") as told:
        preprocess(SCENARIO, str(tmp_path / "log"), str(tmp_path / "out"))
    assert "\n" not in str(told.value)
    assert "while running" not in str(told.value)
    assert "Traceback" not in capfd.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_output_that_is_taken_is_refused(prepared: PreparedData, tmp_path: Path) -> None:
    log = str(write_log(tmp_path / "log", LOG))
    with pytest.raises(InputError, match="holds prepared data already; give --overwrite"):
        preprocess(SCENARIO, log, str(prepared.directory))
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "me.jpg").touch()
    with pytest.raises(InputError, match="is not empty and holds no prepared data"):
        preprocess(SCENARIO, log, str(tmp_path / "photos"), overwrite=True)
    with pytest.raises(InputError, match="is a file"):
        preprocess(SCENARIO, log, str(tmp_path / "log" / "items.jsonl"), overwrite=True)
    assert (tmp_path / "photos" / "me.jpg").exists()


def test_an_output_that_cannot_be_made_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = str(write_log(tmp_path / "log", LOG))
    for output in (f"{log}/items.jsonl/out", "/dev/null/out", f"{tmp_path}/{'x' * 300}"):
        with pytest.raises(InputError, match=r"cannot be made: .*; choose another --output"):
            preprocess(SCENARIO, log, output)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for output in (".", "..", "/"):
        with pytest.raises(InputError, match="is the directory you are in or above it"):
            preprocess(SCENARIO, log, output, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here", "log"]


def test_an_unknown_option_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="`--overwite`: neither an option of this command nor one of Beam's"):
        preprocess(SCENARIO, str(write_log(tmp_path / "log", LOG)), str(tmp_path / "out"), pipeline_args=["--overwite"])
    assert [path.name for path in tmp_path.iterdir()] == ["log"]
