"""trivago's log: exact tables of a small log, what is left out, no look ahead, and the real slice."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from counters_add_up import assert_adds_up
from hypothesis import given
from hypothesis import strategies as st
from read_rejects import read_rejects
from run_source import rows_of, run_source
from scheme_file_system import url_of

from pipeline.errors import InputError
from pipeline.raw_tables import events_schema, items_schema, sessions_schema, users_schema
from pipeline.run import preprocess
from pipeline.scenario_file import load_scenario
from pipeline.sources import trivago
from pipeline.sources.rows import check_rows
from pipeline.sources.trivago import LOG_FIELDS, read_trivago

ROOT = Path(__file__).parent.parent
SLICE = ROOT / "../shared/data/trivago_2019_slice"
CONFIG = ROOT / "configs" / "trivago.yaml"
TRIVAGO = load_scenario(CONFIG)


ROME = "Rome, Italy"


def act(user: str, time: int, action: str, reference: str, **more: Any) -> dict[str, Any]:
    row = {
        "user_id": user, "session_id": f"{user}-s", "timestamp": time, "step": time - 100, "action_type": action,
        "reference": reference, "platform": "DE", "device": "mobile", "city": ROME, "current_filters": None,
        "impressions": None, "prices": None,
    }  # fmt: skip
    return row | more


LOG = [
    act("u", 101, "search for destination", "Rome, Italy"),
    act("u", 102, "interaction item image", "3"),  # before any list shows it: no price
    act("u", 103, "clickout item", "1", impressions="3|1|2", prices="30|10|20", current_filters="Hotel|4 Star"),
    act("u", 104, "interaction item rating", "9", device="tablet"),  # never shown
    act("u", 105, "clickout item", "2", impressions="2|4", prices="99|40"),
    act("v", 105, "search for item", "2", platform="AT", device="desktop"),
    act("v", 106, "clickout item", "7", impressions="5", prices="50", platform="AT", city="Wien"),  # not in the list
]
BAD = [
    act("w", 110, "interaction item info", "unknown"),
    act("w", 111, "clickout item", "1", impressions="1|2", prices="10"),
    act("w", 112, "clickout item", "1", impressions="1|2", prices="10|free"),
    act("w", 113, "clickout item", "1"),
    act("w", 4_133_980_800_000, "search for item", "1"),
]


def write_log(directory: Path, rows: list[dict[str, Any]], shards: int = 1) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    for shard in range(shards):
        name = "events.parquet" if shards == 1 else f"events-{shard}.parquet"
        pq.write_table(pa.Table.from_pylist(rows[shard::shards]), directory / name)
    return directory


def test_a_small_log_gives_exactly_these_tables(tmp_path: Path) -> None:
    elements, counters = run_source(read_trivago, write_log(tmp_path / "log", LOG), TRIVAGO, tmp_path / "out")
    features = TRIVAGO.features
    events = rows_of(elements["events"], events_schema())
    assert events == [
        {"user_id": user, "item_id": item, "action": "click", "time": time}
        for user, item, time in [
            ("u", "3", 102), ("u", "1", 103), ("u", "9", 104), ("u", "2", 105), ("v", "2", 105), ("v", "7", 106),
        ]
    ]  # fmt: skip
    assert rows_of(elements["sessions"], sessions_schema(features)) == [
        {
            "session_id": name, "user_id": name[0], "time": time, "candidates": shown, "clicked": clicked,
            "purchased": [False] * len(shown), "new_item": False, "city": city, "current_filters": filters,
            "candidates.position": [1, 2, 3][: len(shown)], "candidates.price": prices, "candidates.price_rank": ranks,
        }
        for name, time, shown, clicked, city, filters, prices, ranks in [
            ("u-s-3", 103, ["3", "1", "2"], [False, True, False], ROME, "Hotel|4 Star", [30, 10, 20], [3, 1, 2]),
            ("u-s-5", 105, ["2", "4"], [True, False], ROME, "", [99, 40], [2, 1]),
            ("v-s-6", 106, ["5"], [False], "Wien", "", [50], [1]),
        ]
    ]  # fmt: skip
    items = rows_of(elements["items"], items_schema(features))
    assert {row["title"] for row in items} == {""}
    prices = {row["item_id"]: row["price"] for row in items}
    assert len(items) == len(prices)
    none = {item for item, price in prices.items() if np.isnan(price)}
    assert none == {"3", "9", "7"}
    assert {item: price for item, price in prices.items() if item not in none} == {"1": 10, "2": 20, "4": 40, "5": 50}
    users = sorted(rows_of(elements["users"], users_schema(features)), key=lambda row: row["user_id"])
    assert users == [
        {"user_id": "u", "platform": "DE", "device": "mobile"},
        {"user_id": "v", "platform": "AT", "device": "desktop"},
    ]
    assert elements["rejects"] == []
    assert counters == {
        "read/log": 7, "kept/log": 6, "dropped/log/no item": 1,
        "read/events": 6, "read/sessions": 3, "read/items": 7, "read/users": 2,
    }  # fmt: skip


def test_neither_shards_nor_the_order_of_rows_nor_a_url_change_anything(tmp_path: Path) -> None:
    def tables(log: str | Path, output: str) -> dict[str, list[str]]:
        elements, _ = run_source(read_trivago, log, TRIVAGO, tmp_path / output)
        return {
            table: sorted(repr(row) for batch in elements[table] for row in batch.to_pylist())
            for table in ("items", "users", "events", "sessions")
        }

    expected = tables(write_log(tmp_path / "one", LOG), "a")
    assert tables(write_log(tmp_path / "many", LOG[::-1], shards=3), "b") == expected
    assert tables(url_of(tmp_path / "many"), "c") == expected
    (tmp_path / "lines").mkdir()
    (tmp_path / "lines" / "events.jsonl").write_text("".join(json.dumps(row) + "\n" for row in LOG))
    assert tables(tmp_path / "lines", "d") == expected


def test_a_profile_knows_nothing_that_comes_later(tmp_path: Path) -> None:
    """What comes after a time changes no profile that was known by then."""
    random = np.random.default_rng(3)
    rows = []
    for time in range(200, 320):
        user, item = f"u{random.integers(6)}", str(random.integers(12))
        shown = [str(i) for i in random.choice(12, 4, replace=False)]
        more = {"device": str(random.choice(["mobile", "desktop"]))}
        if random.random() < 0.5:
            prices = "|".join(str(p) for p in random.integers(10, 99, 4))
            more |= {"impressions": "|".join(shown), "prices": prices}
        rows.append(act(user, time, "clickout item" if "prices" in more else "interaction item image", item, **more))

    def profiles(upto: int) -> dict[str, str]:
        log = write_log(tmp_path / f"log{upto}", rows[:upto])
        elements, _ = run_source(read_trivago, log, TRIVAGO, tmp_path / f"out{upto}")
        found = [row for table in ("items", "users") for batch in elements[table] for row in batch.to_pylist()]
        return {row.get("item_id") or row["user_id"]: repr(row) for row in found}

    early, late = profiles(12), profiles(120)
    assert early.items() <= late.items()
    assert len(early) < len(late)


def test_bad_rows_are_rejects_and_the_counters_of_a_run_add_up(tmp_path: Path) -> None:
    more = [
        act(f"x{n}", 200 + 3600 * n, "clickout item", "1", impressions="1|2|3|2", prices="10|20|30|20")
        for n in range(20)
    ]
    scenario = load_scenario(CONFIG, ["pipeline.max_reject_share=1"])
    log = write_log(tmp_path / "log", LOG + BAD + more)
    counters = preprocess(scenario, str(log), str(tmp_path / "out"))["runs"][0]["counters"]
    assert_adds_up(counters)
    assert {name: counters[f"read/{name}"] for name in ("log", "events", "sessions", "items", "users")} == {
        "log": 32, "events": 26, "sessions": 23, "items": 7, "users": 22,
    }  # fmt: skip
    assert counters["dropped/candidates/duplicate"] == 20
    rejects = read_rejects(tmp_path / "out", "log")
    assert Counter(reject["reason"] for reject in rejects) == {
        "`reference` is no item": 1,
        "`impressions` and `prices` do not match": 3,
        "`timestamp` is before 1970 or after 2100 (in seconds)": 1,
    }
    assert {json.loads(reject["line"])["user_id"] for reject in rejects} == {"w"}


TEXTS = st.sampled_from(
    ["", "|", "1", "1|", "|1", "1||2", "2|1|2", "-1", "1.5", "unknown", "9" * 40, "1|" * 50 + "1", "\0", "1\n|2"]
)


@given(
    rows=st.lists(
        st.fixed_dictionaries(
            {
                "action_type": st.sampled_from(
                    ["clickout item", "search for item", "interaction item x\ny", "clickout", ""]
                ),
                "reference": TEXTS,
                "impressions": TEXTS | st.none(),
                "prices": TEXTS | st.none(),
                "timestamp": st.sampled_from([0, 5, -1, 2**62, None]),
            }
        ),
        max_size=6,
    )
)
def test_each_row_of_the_log_is_kept_dropped_or_rejected(rows: list[dict[str, Any]]) -> None:
    good = act("good", 103, "clickout item", "1", impressions="3|1|2", prices="30|10|20")
    given_rows = [*(act("u", 1, "", "") | row for row in rows), good]
    raw = pa.RecordBatch.from_pylist(
        given_rows,
        pa.schema(
            [("timestamp", pa.int64()), ("step", pa.int64())]
            + [(name, pa.string()) for name in LOG_FIELDS.names if name not in ("timestamp", "step")]
        ),
    )
    log, reasons = check_rows(raw, LOG_FIELDS)
    counted: Counter[str] = Counter()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trivago, "count", lambda name, amount: counted.update({name: amount}))
        made = list(trivago._make_tables(log))
    rejects = [each.value for each in made if each.tag == "rejects"]
    assert len(raw) == counted["kept/log"] + counted["dropped/log/no item"] + len(rejects) + len(reasons)
    tables = {each.tag: each.value for each in made if each.tag != "rejects"}
    assert {tag: table.num_rows for tag, table in tables.items() if tag in ("events", "sessions")} == {
        "events": counted["kept/log"], "sessions": counted["read/sessions"],
    }  # fmt: skip
    for table in tables.values():
        table.validate(full=True)
    (session,) = [row for row in tables["sessions"].to_pylist() if row["user_id"] == "good"]
    assert session["candidates"] == ["3", "1", "2"]
    assert {each.value.num_rows for each in trivago._make_tables(log.slice(0, 0))} == {0}
    for session in tables["sessions"].to_pylist():
        assert len(session["candidates"]) == len(session["clicked"]) == len(session["purchased"]) > 0


@given(prices=st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=8), max_size=6))
def test_positions_and_price_ranks_are_those_of_a_loop(prices: list[list[int]]) -> None:
    shown = [act("u", 101, "clickout item", "1", prices="|".join(map(str, of_list))) for of_list in prices]
    rows = [row | {"impressions": "|".join("1" * len(of_list))} for row, of_list in zip(shown, prices, strict=True)]
    schema = pa.schema([(name, pa.int64() if name == "timestamp" else pa.string()) for name in LOG_FIELDS.names])
    clickouts = pa.RecordBatch.from_pylist([row | {"step": "1"} for row in rows], schema)
    sessions, _ = trivago._sessions(clickouts)
    sessions.validate(full=True)
    for found, of_list in zip(sessions.to_pylist(), prices, strict=True):
        assert found["candidates.position"] == [place + 1 for place in range(len(of_list))]
        assert found["candidates.price"] == of_list
        assert found["candidates.price_rank"] == [1 + sum(other < price for other in of_list) for price in of_list]


def test_a_column_that_can_never_fit_and_a_missing_file_are_one_line(tmp_path: Path) -> None:
    pq.write_table(pa.table({"timestamp": [1.5], "user_id": ["u"]}), tmp_path / "events.parquet")
    with pytest.raises(InputError, match=r"events.parquet: column `timestamp` is double, not integer seconds"):
        preprocess(TRIVAGO, str(tmp_path), str(tmp_path / "out"))
    (tmp_path / "events.parquet").rename(tmp_path / "train.parquet")
    with pytest.raises(InputError, match=r"has no events; expected events.parquet, or shards of it"):
        read_trivago(beam.Pipeline(runner=FnApiRunner()), str(tmp_path), TRIVAGO)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "features.item.stars={kind: numeric, optional: true}",
            r"features.item.stars: reads `stars` as float32; .* `item`: item_id \(string\), price \(float\)$",
        ),
        (
            "features.query.device={kind: categorical, table: device}",
            r"`query`: city \(string\), current_filters \(string\)$",
        ),
        (
            "features.impression.rank={kind: numeric}",
            r"`rank` as float32; .* `impression`: position \(float\), price \(float\), price_rank \(float\)$",
        ),
        ("features.item.price.optional=false", r"`price` is missing in some rows of this source; add `optional: true`"),
    ],
)
def test_a_feature_that_the_log_cannot_give_is_named(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_trivago(beam.Pipeline(runner=FnApiRunner()), str(tmp_path), load_scenario(CONFIG, [override]))


@pytest.mark.skipif(not SLICE.is_dir(), reason="needs ../shared/data/trivago_2019_slice")
def test_the_real_slice_is_what_pandas_finds_in_it(tmp_path: Path) -> None:
    elements, counters = run_source(read_trivago, SLICE, TRIVAGO, tmp_path)
    log = pd.read_parquet(SLICE / "events.parquet")
    clickouts = log[log["action_type"] == "clickout item"]
    assert set(log.columns) == set(LOG_FIELDS.names)
    assert counters["read/log"] == len(log) == 100_003
    assert counters["read/sessions"] == len(clickouts) == 13_597
    assert Counter(reject.reason for reject in elements["rejects"]) == {"`reference` is no item": 4}
    sessions = pa.Table.from_batches(elements["sessions"]).to_pandas()
    sessions = sessions.set_index("session_id").loc[clickouts["session_id"] + "-" + clickouts["step"].astype(str)]
    assert ["|".join(shown) for shown in sessions["candidates"]] == clickouts["impressions"].tolist()
    assert ["|".join(f"{p:.0f}" for p in of_list) for of_list in sessions["candidates.price"]] == (
        clickouts["prices"].tolist()
    )
    prices, ranks = (sessions[f"candidates.{name}"].explode().astype(float) for name in ("price", "price_rank"))
    assert (prices.groupby(level=0).rank(method="min") == ranks).all()
    rank = [1 + int(clicked.argmax()) if clicked.any() else np.inf for clicked in sessions["clicked"]]
    # the displayed order of the raw lists, which records do not keep
    assert np.mean(1 / np.array(rank)) == pytest.approx(0.450, abs=5e-4)
    items = pa.Table.from_batches(elements["items"]).to_pandas()
    shown = {item for text in clickouts["impressions"] for item in text.split("|")}
    assert items["item_id"].is_unique
    assert set(items["item_id"]) == shown | set(log["reference"][log["reference"].str.fullmatch(r"\d+")])
