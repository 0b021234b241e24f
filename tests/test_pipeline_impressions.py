"""What a candidate has in one session alone, from the raw row to the record: a slow obvious reading beside the job."""

import json
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from counters_add_up import assert_adds_up
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st
from prepared_records import read_records
from read_rejects import read_rejects
from small_log import Table, small_log, small_scenario, write_log
from tensorflow_metadata.proto.v0 import schema_pb2

from benchmarks.reference_pipeline import reference_preprocess
from pipeline.batches import concat_batches
from pipeline.config import Scenario
from pipeline.data_statistics import load_data_statistics
from pipeline.errors import InputError
from pipeline.prepared_data import PARTS, PreparedData
from pipeline.raw_tables import users_schema
from pipeline.run import preprocess
from pipeline.sampling import hash_texts
from pipeline.scenario_file import load_scenario, parse_scenario
from pipeline.sessions import RESOLVED_EVENTS, join_sessions, resolved_sessions
from pipeline.sources.amazon import read_amazon, read_amazon_search

CONFIGS = Path(__file__).parent.parent / "configs"
IMPRESSION: dict[str, Any] = {
    "position": {"kind": "numeric", "log": True},
    "place": {"kind": "numeric", "buckets": 3, "column": "position"},
    "shown_price": {"kind": "numeric", "optional": True, "column": "price"},
    "badge": {"kind": "categorical", "table": "badge"},
    "marks": {"kind": "multi_categorical", "table": "mark", "separator": "|", "column": "query"},
}


def scenario_with(impression: dict[str, Any] = IMPRESSION, **pipeline: Any) -> Scenario:
    """The small scenario with impressions; one of their columns is named as a query's, one as an item's."""
    raw = small_scenario(**pipeline).model_dump(mode="json", exclude_defaults=True)
    tables: dict[str, Any] = {declared["table"]: {} for declared in impression.values() if "table" in declared}
    raw["features"] |= {"impression": impression, "tables": raw["features"]["tables"] | tables}
    return parse_scenario(raw, "small")


SCENARIO = scenario_with()


def log_with_impressions(seed: int = 0, **sizes: int) -> dict[str, Table]:
    """A small log whose candidates repeat, with values of each place in the list; some are missing."""
    log, draw = small_log(seed, **sizes), np.random.default_rng(seed)
    for session in log["sessions"]:
        shown = [session["candidates"][i] for i in draw.integers(0, len(session["candidates"]), 2)]
        session["candidates"] = [dict(candidate) for candidate in session["candidates"] + shown]
        for position, candidate in enumerate(session["candidates"], start=1):
            candidate["position"] = position
            if draw.random() < 0.7:
                candidate["price"] = float(np.float32(draw.random()))
            if draw.random() < 0.7:
                candidate["badge"] = str(draw.choice(["new", "sale", "a,b", ""]))
            if draw.random() < 0.7:
                candidate["query"] = [f"m{draw.integers(4)}", f"n{draw.integers(4)}"]
    return log


def obvious(log: dict[str, Table]) -> dict[str, dict[str, dict[str, Any]]]:
    """Of each session and item what the first place has that shows the item, by the letter of the documentation."""
    values: dict[str, dict[str, dict[str, Any]]] = {}
    for session in log["sessions"]:
        for candidate in session["candidates"]:
            of_session = values.setdefault(session["session_id"], {})
            of_session.setdefault(
                candidate["item_id"],
                {
                    "position": candidate["position"],
                    "place": candidate["position"],
                    "shown_price": candidate.get("price", float("nan")),
                    "badge": candidate.get("badge", ""),
                    "marks": "|".join(candidate.get("query", [])),
                },
            )
    return values


def assert_as_shown(found: dict[str, Any], expected: dict[str, dict[str, Any]]) -> None:
    """A record's candidates have the values of their places in the raw row."""
    assert len(found["candidate_item_id"]) > 0
    for place, item in enumerate(found["candidate_item_id"]):
        values = {name: found[f"candidate_{name}"][place] for name in IMPRESSION}
        np.testing.assert_equal(values, expected[item], err_msg=f"{found['session_id']} {item}")


def write_parquet(directory: Path, log: dict[str, Table]) -> Path:
    directory.mkdir(parents=True)
    for name, rows in log.items():
        every = {key for row in rows for key in row}
        pq.write_table(
            pa.Table.from_pylist([dict.fromkeys(sorted(every)) | row for row in rows]), directory / f"{name}.parquet"
        )
    return directory


LOG = log_with_impressions()


@pytest.fixture(scope="module", params=[write_log, write_parquet])
def prepared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    directory = tmp_path_factory.mktemp("run")
    preprocess(SCENARIO, str(request.param(directory / "log", LOG)), str(directory / "out"))
    return PreparedData.open(directory / "out")


def test_every_candidate_has_the_values_of_the_raw_row(prepared: PreparedData) -> None:
    expected, sessions = obvious(LOG), 0
    for part in PARTS:
        for session, record in read_records(prepared, SCENARIO.features, part).items():
            assert_as_shown(record, expected[session])
            sessions += 1
    counters = prepared.manifest["runs"][-1]["counters"]
    assert sessions == counters["kept/sessions"] > 40
    assert counters["dropped/candidates/duplicate"] == 2 * len(LOG["sessions"])
    assert counters["dropped/candidates/not sampled"] > 0
    assert_adds_up(counters)


def test_vocabularies_and_statistics_are_of_the_training_part(prepared: PreparedData) -> None:
    assets = prepared.assets(SCENARIO.features)
    records = read_records(prepared, SCENARIO.features, "train").values()
    badges = {badge for record in records for badge in record["candidate_badge"]}
    marks = {mark for record in records for text in record["candidate_marks"] for mark in text.split("|")}
    assert set(assets.vocabulary("badge")) == badges - {""}
    assert set(assets.vocabulary("mark")) == marks - {""}
    positions = np.concatenate([record["candidate_position"] for record in records])
    prices = np.concatenate([record["candidate_shown_price"] for record in records])
    assert assets.numeric["impression_position"].mean == pytest.approx(np.log1p(positions).mean(), rel=1e-5)
    assert assets.numeric["impression_shown_price"].mean == pytest.approx(np.nanmean(prices), rel=1e-3)
    thirds = np.quantile(positions, [1 / 3, 2 / 3], method="inverted_cdf")
    assert assets.numeric["impression_place"].boundaries == pytest.approx(thirds)


def test_schema_and_data_statistics_describe_them(prepared: PreparedData) -> None:
    names = {f"candidate_{name}" for name in IMPRESSION}
    schema = text_format.Parse((prepared.latest / "schema.pbtxt").read_text(), schema_pb2.Schema())
    assert names <= {feature.name for feature in schema.feature}
    for dataset in load_data_statistics(prepared.latest).datasets:
        records = read_records(prepared, SCENARIO.features, dataset.name).values()
        features = {feature.name: feature for feature in dataset.features}
        assert names <= features.keys() or not records
        if records:
            prices = np.concatenate([record["candidate_shown_price"] for record in records])
            assert features["candidate_shown_price"].num_stats.common_stats.num_missing == np.isnan(prices).sum()


RESOLVED = resolved_sessions(SCENARIO.features)
HASHES = hash_texts(pa.array([f"i{i}" for i in range(6)]), 17)
NUMBERS = st.floats(0, 9, width=32) | st.just(float("nan"))


@settings(max_examples=60)
@given(
    lists=st.lists(
        st.lists(st.tuples(st.integers(0, 5), st.booleans(), NUMBERS, st.text(max_size=3)), min_size=1, max_size=9),
        min_size=1,
        max_size=8,
    ),
    seed=st.integers(0, 99),
    negatives=st.sampled_from([0.5, 1, 3]),
)
def test_the_join_keeps_the_values_of_each_first_place(
    lists: list[list[tuple[int, bool, float, str]]], seed: int, negatives: float
) -> None:
    """Whatever is repeated, sampled or reordered."""
    rows = [
        {
            "session_id": f"s{number}", "user_id": f"u{number % 3}", "time": 60 * number, "query": "",
            "new_item": False,
            "candidates": [item for item, *_ in shown], "clicked": [True] * len(shown),
            "purchased": [bought for _, bought, *_ in shown],
            "candidates.position": [float(place) for place in range(len(shown))],
            "candidates.price": [price for _, _, price, _ in shown],
            "candidates.badge": [badge for *_, badge in shown],
            "candidates.query": [badge + badge for *_, badge in shown],
        }
        for number, shown in enumerate(lists)
    ]  # fmt: skip
    joined = join_sessions(
        scenario_with(seed=seed, negatives_per_positive=negatives),
        events=concat_batches([], RESOLVED_EVENTS),
        sessions=pa.RecordBatch.from_pylist(rows, RESOLVED),
        users=concat_batches([], users_schema(SCENARIO.features)),
        item_hashes=HASHES,
        boundaries=(240, 300),
        log_end=1000,
    ).sessions
    joined.validate(full=True)
    assert joined.num_rows >= max(0, len(lists) - 4)
    for row in joined.to_pylist():
        shown = lists[int(row["session_id"][1:])]
        assert len(row["candidates"]) > 0
        for place, item in enumerate(row["candidates"]):
            first = next(number for number, (other, *_) in enumerate(shown) if other == item)
            *_, price, badge = shown[first]
            found = {name: row[f"candidate_{name}"][place] for name in IMPRESSION}
            expected = {
                "position": first, "place": first, "shown_price": price, "badge": badge, "marks": badge + badge
            }  # fmt: skip
            np.testing.assert_equal(found, expected)
            assert row["label"][place] == any(bought for other, bought, *_ in shown if other == item)


BAD: list[tuple[dict[str, Any], str]] = [
    ({"position": None}, "lacks `candidates.position`"),
    ({"position": "first"}, "`candidates.position` is text, not a number"),
    ({"position": -1}, "`candidates.position` is negative"),
    ({"position": 1e300}, "`candidates.position` is not a finite number"),
    ({"price": [1]}, "`candidates.price` is a list, not a number"),
    ({"badge": 1.5}, "`candidates.badge` is a decimal number, not text"),
    ({"badge": ["new"]}, "`candidates.badge` is a list, not text"),
    ({"query": [1.5]}, "`candidates.query[]` is a decimal number, not text"),
]


def test_bad_impressions_reject_their_session_with_the_reason(tmp_path: Path) -> None:
    log = log_with_impressions(1)
    for number, (changed, _) in enumerate(BAD):
        copied = json.loads(json.dumps(log["sessions"][number]))
        copied["candidates"][-1] |= changed
        log["sessions"].append(copied | {"session_id": f"bad{number}"})
    unknown = json.loads(json.dumps(log["sessions"][0])) | {"session_id": "unknown"}
    unknown["candidates"][0]["item_id"] = "nobody"
    log["sessions"].append(unknown)
    scenario = scenario_with(max_reject_share=0.5)
    manifest = preprocess(scenario, str(write_log(tmp_path / "log", log)), str(tmp_path / "out"))
    rejects = read_rejects(tmp_path / "out", "sessions")
    found = {json.loads(reject["line"])["session_id"]: reject["reason"] for reject in rejects}
    assert found == {f"bad{number}": reason for number, (_, reason) in enumerate(BAD)} | {"unknown": "unknown item"}
    (line,) = [json.loads(reject["line"]) for reject in rejects if reject["reason"] == "unknown item"]
    assert line["candidates.position"] == [candidate["position"] for candidate in unknown["candidates"]]
    assert_adds_up(manifest["runs"][0]["counters"])


def test_a_parquet_column_that_can_never_fit_fails_at_once(tmp_path: Path) -> None:
    log = log_with_impressions()
    for session in log["sessions"]:
        for candidate in session["candidates"]:
            candidate["position"] = "first"
    with pytest.raises(InputError, match=r"sessions.parquet: column `candidates.position` is string, not a number"):
        preprocess(SCENARIO, str(write_parquet(tmp_path / "log", log)), str(tmp_path / "out"))


def test_a_column_that_no_candidate_has_is_told(tmp_path: Path) -> None:
    """As of any other group: an empty table is a warning, and a number that must be there rejects every row."""
    directory = write_log(tmp_path / "log", small_log())
    texts = {"badge": IMPRESSION["badge"], "shown_price": IMPRESSION["shown_price"]}
    manifest = preprocess(scenario_with(texts), str(directory), str(tmp_path / "out"))
    (warning,) = manifest["runs"][0]["warnings"]
    assert warning == "table `badge` is empty: the training part has no value of `badge`, or none often enough"
    with pytest.raises(InputError, match=r"60 of 60 rows of sessions are rejected .*: lacks `candidates.position`"):
        preprocess(SCENARIO, str(directory), str(tmp_path / "none"))


def test_of_two_sessions_with_one_id_one_stays_whatever_the_order(tmp_path: Path) -> None:
    """They differ in their impressions alone, and only by where a comma stands."""
    log = log_with_impressions()
    two = [{**log["sessions"][0], "session_id": "twice", "time": log["sessions"][-1]["time"]} for _ in range(2)]
    for session, badges in zip(two, (["a,b", "c"], ["a", "b,c"]), strict=True):
        session["candidates"] = [
            {"item_id": f"i{item}", "purchased": item == 1, "position": 1, "badge": badge}
            for item, badge in enumerate(badges)
        ]
    found = []
    for number, order in enumerate((two, two[::-1])):
        given = log | {"sessions": log["sessions"] + order}
        preprocess(SCENARIO, str(write_log(tmp_path / f"log{number}", given)), str(tmp_path / f"out{number}"))
        data = PreparedData.open(tmp_path / f"out{number}")
        records = {k: v for part in PARTS for k, v in read_records(data, SCENARIO.features, part).items()}
        found.append(sorted(records["twice"]["candidate_badge"]))
    assert found[0] == found[1]


@pytest.mark.parametrize(("read", "config"), [(read_amazon, "amazon"), (read_amazon_search, "amazon_search")])
def test_a_source_without_shown_lists_refuses(tmp_path: Path, read: Any, config: str) -> None:
    scenario = load_scenario(CONFIGS / f"{config}.yaml", ["features.impression.position={kind: numeric}"])
    with pytest.raises(InputError, match=r"features.impression.position: .*sources that have: search_log .*, trivago"):
        read(beam.Pipeline(runner=FnApiRunner()), str(tmp_path), scenario)


def test_the_reference_pipeline_refuses(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"leave out `features.impression`"):
        reference_preprocess(SCENARIO, str(tmp_path), str(tmp_path / "out"))
