"""The composite transforms that the job is made of, each alone, with batches in memory and exact results."""

from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
from apache_beam.pvalue import AsSingleton
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that, equal_to
from small_log import DAY, small_scenario

from pipeline.co_purchases import PAIRS_SCHEMA
from pipeline.column_counts import unpack_counts
from pipeline.counters import read_counters
from pipeline.days import DateRange
from pipeline.item_index import ItemIndex
from pipeline.raw_tables import items_schema, users_schema
from pipeline.record_file import RecordFile
from pipeline.sessions import RESOLVED_EVENTS, resolved_sessions
from pipeline.steps import plan_slices
from pipeline.steps.answer_as_of import AnswerAsOf
from pipeline.steps.count_values import CountValues
from pipeline.steps.join_by_user import JoinByUser
from pipeline.steps.keep_days import KeepDays
from pipeline.steps.make_records import MakeRecords
from pipeline.steps.plan_slices import PlanSlices

SCENARIO = small_scenario(shards=1)
FEATURES = SCENARIO.features
CLICK, PURCHASE = 0, 1
#: Rows of the item index: 0 and 1 of maker x, 2 of none.
ITEMS = ItemIndex.build(
    pa.RecordBatch.from_pylist(
        [
            {"item_id": name, "title": "", "brand": brand, "tags": "t", "price": 2.0, "rating": 1.5}
            for name, brand in (("a", "x"), ("b", "x"), ("c", ""))
        ],
        items_schema(FEATURES),
    ),
    ("brand",),
    SCENARIO.pipeline.seed,
)
NOW = 10 * DAY


def event(user: str, item: int, action: int, time: int) -> dict[str, Any]:
    return {"user_id": user, "item": item, "action": action, "time": time}


def session(name: str, user: str, time: int, *candidates: int, bought: tuple[int, ...] = ()) -> dict[str, Any]:
    return {
        "session_id": name, "user_id": user, "time": time, "query": "q", "candidates": list(candidates),
        "clicked": [False] * len(candidates), "purchased": [c in bought for c in candidates], "new_item": False,
    }  # fmt: skip


EVENTS = [
    event("u", 0, PURCHASE, NOW - DAY),
    event("u", 2, CLICK, NOW - 2),
    event("u", 1, PURCHASE, NOW),  # at the very time of the session
    event("v", 0, PURCHASE, NOW - 5),
    event("v", 1, PURCHASE, NOW - 3),
]


def joined(pipeline: beam.Pipeline, sessions: list[dict[str, Any]], spill: str | None) -> Any:
    made = {
        "events": pa.RecordBatch.from_pylist(EVENTS, RESOLVED_EVENTS),
        "sessions": pa.RecordBatch.from_pylist(sessions, resolved_sessions(FEATURES)),
        "users": pa.RecordBatch.from_pylist([{"user_id": "u", "age_group": "old"}], users_schema(FEATURES)),
    }
    tables = {name: pipeline | f"Make {name}" >> beam.Create([batch]) for name, batch in made.items()}
    sides: list[Any] = [
        AsSingleton(pipeline | name >> beam.Create([value]))
        for name, value in (("Items", ITEMS), ("Boundaries", (NOW - DAY, NOW)), ("End", NOW + 1))
    ]
    return tables | JoinByUser(SCENARIO, *sides, spill=spill)


@pytest.mark.parametrize("spilled", [False, True])
def test_join_by_user(spilled: bool, tmp_path: Path) -> None:
    sessions = [session("s", "u", NOW, 2, 1, bought=(1,)), session("early", "v", NOW - 4, 1, 2)]
    pipeline = beam.Pipeline(runner=FnApiRunner())
    outputs = joined(pipeline, sessions, str(tmp_path) if spilled else None)
    wanted = ["session_id", "part", "day", "behavior_item", "behavior_action", "behavior_age_days", "user_activity"]
    rows = outputs.sessions | "Rows" >> beam.FlatMapTuple(lambda _, batch: batch.select(wanted).to_pylist())
    expected = [
        {
            "session_id": "early", "part": 1, "day": 9, "behavior_item": [0], "behavior_action": [PURCHASE],
            "behavior_age_days": [np.float32(1 / DAY)], "user_activity": 1.0,
        },
        {
            "session_id": "s", "part": 2, "day": 10, "behavior_item": [2, 0], "behavior_action": [CLICK, PURCHASE],
            "behavior_age_days": [np.float32(2 / DAY), 1.0], "user_activity": 2.0,
        },
    ]  # fmt: skip
    assert_that(rows, equal_to(expected), label="Sessions")
    pairs = outputs.pairs | "Pairs" >> beam.FlatMap(lambda batch: [tuple(row.values()) for row in batch.to_pylist()])
    both = [(0, 1, NOW), (1, 0, NOW), (0, 1, NOW - 3), (1, 0, NOW - 3)]
    assert_that(pairs, equal_to(both), label="Pairs of both users")
    users = outputs.users | "Users" >> beam.FlatMapTuple(lambda _, batch: batch.to_pylist())
    at_end = [{"user_id": "u", "activity": 3.0}, {"user_id": "v", "activity": 2.0}]
    assert_that(users, equal_to(at_end), label="Users at the end")
    result = pipeline.run()
    result.wait_until_finish()
    assert read_counters(result) == {"kept/events": 5, "kept/sessions": 2, "kept/users": 1}


def requests(spill: str | None, pipeline: beam.Pipeline, slices: int) -> Any:
    sessions = pa.RecordBatch.from_pydict(
        {
            "candidates": pa.array([[1, 2], [0]], pa.list_(pa.int32())),
            "time": pa.array([NOW, NOW + 9], pa.int64()),
            "behavior_item": pa.array([[2, 0, 0], [1]], pa.list_(pa.int32())),
        }
    )
    pairs = [{"item": i, "other": o, "time": t} for i, o, t in ((0, 1, NOW), (1, 0, NOW), (0, 1, 5), (1, 0, 5))]
    made: dict[str, Any] = {
        "sessions": (3, sessions),
        "events": pa.RecordBatch.from_pylist(EVENTS, RESOLVED_EVENTS),
        "pairs": pa.RecordBatch.from_pylist(pairs, PAIRS_SCHEMA),
    }
    tables = {name: pipeline | f"Make {name}" >> beam.Create([value]) for name, value in made.items()}
    plan = {entity: np.array([slices]) for entity in ("item_id", "maker")}
    sides: list[Any] = [
        AsSingleton(pipeline | name >> beam.Create([value]))
        for name, value in (("Items", ITEMS), ("End", NOW + 1), ("Slices", plan))
    ]
    return tables | AnswerAsOf(SCENARIO, *sides, spill=spill)


@pytest.mark.parametrize("slices", [1, 3])
@pytest.mark.parametrize("spilled", [False, True])
def test_answer_as_of(spilled: bool, slices: int, tmp_path: Path) -> None:
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        outputs = requests(str(tmp_path) if spilled else None, pipeline, slices)
        rows = outputs.answers | "Rows" >> beam.FlatMapTuple(
            lambda shard, batch: [(shard, sorted(row.items())) for row in batch.to_pylist()]
        )
        item = [
            # place 0 is item 1 at NOW: bought once before (at NOW - 3), together with item 0 once before
            {"#place": 0, "sales": 1.0, "item_age": np.float32(3 / DAY), "with": 1.0},
            {"#place": 1, "sales": 0.0, "item_age": np.float32(2 / DAY), "with": 0.0},
            {"#place": 2, "sales": 2.0, "item_age": np.float32((DAY + 9) / DAY), "with": 2.0},
        ]
        # item 2 has no maker, and nobody clicked on the makers of the others
        maker = [{"#place": 0, "maker_clicks_2d": 0.0}, {"#place": 2, "maker_clicks_2d": 0.0}]
        assert_that(rows, equal_to([(3, sorted(row.items())) for row in item + maker]), label="Answers")
        pairs = outputs.co_purchases | "Pairs" >> beam.FlatMapTuple(
            lambda _, batch: [tuple(row.values()) for row in batch.to_pylist()]
        )
        assert_that(pairs, equal_to([(0, 1, 2), (1, 0, 2)]), label="Once, whatever the slices")
        ends = outputs.at_end | "Ends" >> beam.FlatMapTuple(
            lambda entity, batch: [(entity, row["#code"]) for row in batch.to_pylist()]
        )
        assert_that(ends, equal_to([("item_id", 0), ("item_id", 1), ("item_id", 2), ("maker", 0)]), label="Ends")


def test_plan_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_slices, "_REQUESTS", 6)
    sessions = [session(f"s{n}", "u", NOW, 0, 1, 2) for n in range(3)]
    batches = [pa.RecordBatch.from_pylist(sessions, resolved_sessions(FEATURES))] * 2
    columns = {"item_id": "item_id", "maker": "brand"}
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        items = AsSingleton(pipeline | "Items" >> beam.Create([ITEMS]))
        for name, given, expected in (
            # each item six times, items 0 and 2 in bucket 0; makers: items 0 and 1, both of code 0
            ("Some", batches, {"item_id": [2, 1], "maker": [2, 1]}),
            ("Many", batches * 9, {"item_id": [2, 2], "maker": [2, 1]}),  # no more than user shards
            ("None", [], {"item_id": [1, 1], "maker": [1, 1]}),
        ):
            made = pipeline | f"Make {name}" >> beam.Create(given).with_output_types(pa.RecordBatch)
            plan = made | f"Plan {name}" >> PlanSlices(items, columns, buckets=2)
            plain = plan | f"Plain {name}" >> beam.Map(lambda slices: {e: n.tolist() for e, n in slices.items()})
            assert_that(plain, equal_to([expected]), label=f"Check {name}")


def test_keep_days() -> None:
    times = [2 * DAY - 1, 2 * DAY, 3 * DAY, 4 * DAY - 1, 4 * DAY]
    batches = [pa.RecordBatch.from_pydict({"time": pa.array([time], pa.int64())}) for time in times]
    pipeline = beam.Pipeline(runner=FnApiRunner())
    made = pipeline | beam.Create(batches)
    for table, days, expected in (
        ("sessions", DateRange(2, 3), times[1:4]),
        ("events", DateRange(2, 3), times[:4]),
        ("sessions", None, times),
    ):
        label = f"{table} of {days}"
        kept = made | label >> KeepDays(table, days)
        found = kept | f"Times of {label}" >> beam.FlatMap(lambda batch: batch["time"].to_pylist())
        assert_that(found, equal_to(expected), label=f"Check {label}")
    result = pipeline.run()
    result.wait_until_finish()
    assert read_counters(result) == {
        "dropped/events/outside the date range": 1,
        "dropped/sessions/outside the date range": 2,
    }


def test_make_records_and_count_their_values(tmp_path: Path) -> None:
    sessions = [session("s", "u", NOW, 2, 1, bought=(1,)), session("t", "u", NOW + DAY, 1)]
    pipeline = beam.Pipeline(runner=FnApiRunner())
    items = AsSingleton(pipeline | "Index" >> beam.Create([ITEMS]))
    answer = {"#place": pa.array([2], pa.int32()), "sales": pa.array([7], pa.float32())}
    answers = pipeline | beam.Create([(0, pa.RecordBatch.from_pydict(answer))]).with_output_types(
        tuple[int, pa.RecordBatch]
    )
    tables = {"sessions": joined(pipeline, sessions, str(tmp_path)).sessions, "answers": answers}
    records = tables | MakeRecords(SCENARIO, items, spill=str(tmp_path))
    wanted = ["session_id", "behavior_item_id", "candidate_sales", "candidate_item_age", "user_age_group"]
    rows = records | "Rows" >> beam.FlatMapTuple(
        lambda file, batch: [(file, repr(row)) for row in batch.select(wanted).to_pylist()]
    )
    ages = "[nan, nan]"
    expected = [
        (
            RecordFile("test", "1970-01-11", 0, 0),
            "{'session_id': ['s'], 'behavior_item_id': ['c', 'a'], 'candidate_sales': [0.0, 0.0], "
            f"'candidate_item_age': {ages}, 'user_age_group': ['old']}}",
        ),
        (
            RecordFile("test", "1970-01-12", 0, 0),
            "{'session_id': ['t'], 'behavior_item_id': ['b', 'c', 'a'], 'candidate_sales': [7.0], "
            "'candidate_item_age': [nan], 'user_age_group': ['old']}",
        ),
    ]
    assert_that(rows, equal_to(expected), label="Records")
    counted = records | CountValues(FEATURES, spill=str(tmp_path))
    found = counted | "Counts" >> beam.MapTuple(
        lambda key, packed: (key, unpack_counts(packed)["behavior_item_id"].to_pylist())
    )
    counts = [
        (("test", "1970-01-11"), [{"value": "a", "count": 1}, {"value": "c", "count": 1}]),
        (("test", "1970-01-12"), [{"value": n, "count": 1} for n in "abc"]),
    ]
    assert_that(found, equal_to(counts), label="Counts")
    result = pipeline.run()
    result.wait_until_finish()
    counters = read_counters(result)
    assert (counters["written/test/sessions"], counters["written/test/candidates"]) == (2, 3)
