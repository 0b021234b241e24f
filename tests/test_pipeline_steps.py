"""The composite transforms alone, with batches in memory."""

import json
from itertools import permutations
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
from apache_beam.pvalue import AsSingleton
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that, equal_to
from small_log import small_scenario

from pipeline.batches import GatherBatches, RecordBatchCoder, concat_batches, least_of_each, split_batch
from pipeline.config import Split
from pipeline.counters import read_counters
from pipeline.raw_tables import events_schema, items_schema, sessions_schema
from pipeline.sessions import resolved_sessions
from pipeline.steps.find_split import FindBoundaries, FindLogEnd
from pipeline.steps.index_items import IndexItems
from pipeline.steps.resolve_items import ResolveItems
from pipeline.steps.shard_by import ShardBy
from pipeline.steps.unique_sessions import UniqueSessions

SCENARIO = small_scenario()
ITEMS = items_schema(SCENARIO.features)
NUMBERS = pa.schema([("key", pa.int64()), ("text", pa.string())])


def item(name: str, brand: str, price: float = 1.0) -> dict[str, Any]:
    return {"item_id": name, "title": "", "brand": brand, "tags": "", "price": price, "rating": 0.0}


def items_side(pipeline: beam.Pipeline, *batches: list[dict[str, Any]]) -> beam.PCollection:
    given = [pa.RecordBatch.from_pylist(rows, ITEMS) for rows in batches]
    return pipeline | "Items" >> beam.Create(given) | IndexItems(SCENARIO)


def rows_of(batches: beam.PCollection, label: str) -> beam.PCollection:
    return batches | label >> beam.FlatMap(pa.RecordBatch.to_pylist)


def test_a_batch_survives_its_coder_also_as_a_slice() -> None:
    batch = pa.RecordBatch.from_pydict({"key": [1, 2, 3], "text": ["a", "", "ü"]})
    coder = RecordBatchCoder()
    assert coder.decode(coder.encode(batch.slice(1, 2))).equals(batch.slice(1, 2))
    assert coder.is_deterministic()
    assert isinstance(beam.coders.registry.get_coder(pa.RecordBatch), RecordBatchCoder)


def test_batches_are_joined_split_and_made_unique() -> None:
    batch = pa.RecordBatch.from_pylist([{"key": k, "text": t} for k, t in ((2, "b"), (1, "x"), (2, "a"))], NUMBERS)
    assert {
        key: part.column("text").to_pylist() for key, part in split_batch(batch, batch.column("key").to_numpy())
    } == {
        1: ["x"],
        2: ["b", "a"],
    }
    assert concat_batches([batch, batch.slice(0, 1)], NUMBERS).num_rows == 4
    assert concat_batches([], NUMBERS).schema == NUMBERS
    assert least_of_each(batch, "key").to_pylist() == [{"key": 1, "text": "x"}, {"key": 2, "text": "a"}]
    assert least_of_each(batch.slice(0, 0), "key").num_rows == 0
    assert list(split_batch(batch.slice(0, 0), np.array([], np.int64))) == []


def test_the_least_row_is_found_also_by_lists_and_in_any_order() -> None:
    rows = [
        {"key": 1, "list": [2, 3], "flags": [True]},
        {"key": 1, "list": [2, 1], "flags": [False]},
        {"key": 0, "list": []},
    ]
    schema = pa.schema([("list", pa.list_(pa.int32())), ("flags", pa.list_(pa.bool_())), ("key", pa.int64())])
    for order in permutations(rows):
        least = least_of_each(pa.RecordBatch.from_pylist(list(order), schema), "key")
        assert least.column("list").to_pylist() == [[], [2, 1]]


def test_gather_batches_gives_one_value_also_without_input() -> None:
    batch = pa.RecordBatch.from_pylist([{"key": 1, "text": "a"}], NUMBERS)
    for given, rows in (([batch, batch], 2), ([], 0)):
        with beam.Pipeline(runner=FnApiRunner()) as pipeline:
            batches = pipeline | beam.Create(given).with_output_types(pa.RecordBatch)
            gathered = batches | GatherBatches(NUMBERS, lambda all_rows: all_rows) | beam.Map(lambda b: b.num_rows)
            assert_that(gathered, equal_to([rows]))


def test_items_are_sorted_unique_and_numbered() -> None:
    pipeline = beam.Pipeline(runner=FnApiRunner())
    index = items_side(pipeline, [item("b", "y"), item("a", "z")], [item("a", "y", 9.0), item("c", "")])
    found = index | beam.FlatMap(lambda batch: batch.select(["item_id", "brand", "price", "#code_brand"]).to_pylist())
    assert_that(
        found,
        equal_to(
            [
                # of the two rows of `a` the one that sorts first
                {"item_id": "a", "brand": "y", "price": 9.0, "#code_brand": 0},
                {"item_id": "b", "brand": "y", "price": 1.0, "#code_brand": 0},
                {"item_id": "c", "brand": "", "price": 1.0, "#code_brand": -1},
            ]
        ),
    )
    result = pipeline.run()
    result.wait_until_finish()
    assert read_counters(result) == {"dropped/items/duplicate": 1, "kept/items": 3}


def session(name: str, *candidates: str | int, user: str = "u") -> dict[str, Any]:
    flags = [False] * len(candidates)
    return {
        "session_id": name, "user_id": user, "time": 3, "query": "", "candidates": list(candidates),
        "clicked": flags, "purchased": flags, "new_item": False,
    }  # fmt: skip


@pytest.mark.parametrize("spilled", [False, True])
def test_one_session_of_each_id_stays_whatever_the_order_and_its_user(spilled: bool, tmp_path: Path) -> None:
    spill = str(tmp_path) if spilled else None
    rows = [session("s1", 4, user="v"), session("s2", 1), session("s1", 7, user="u"), session("s1", 6, user="u")]
    for order in (rows, rows[::-1]):
        batches = [pa.RecordBatch.from_pylist([row], resolved_sessions(SCENARIO.features)) for row in order]
        pipeline = beam.Pipeline(runner=FnApiRunner())
        unique = pipeline | beam.Create(batches) | UniqueSessions(SCENARIO, spill=spill)
        assert_that(rows_of(unique, "Rows"), equal_to([rows[1], rows[3]]))
        result = pipeline.run()
        result.wait_until_finish()
        assert read_counters(result) == {"dropped/sessions/duplicate": 2}


def test_unknown_items_are_rejects_and_take_their_session_with_them() -> None:
    events = [{"user_id": "u", "item_id": i, "action": a, "time": 1} for i, a in (("b", "purchase"), ("gone", "click"))]
    sessions = [session("s1", "b", "a"), session("s2", "a", "gone"), session("s3", "a")]
    pipeline = beam.Pipeline(runner=FnApiRunner())
    items = AsSingleton(items_side(pipeline, [item("b", "y"), item("a", "z")]))
    given = {"events": (events, events_schema()), "sessions": (sessions, sessions_schema(SCENARIO.features))}
    expected: dict[str, list[Any]] = {
        "events": [{"user_id": "u", "item": 1, "action": 1, "time": 1}],
        "sessions": [{**session("s1"), "candidates": [1, 0]}, {**session("s3"), "candidates": [0]}],
    }
    for row, length in zip(expected["sessions"], (2, 1), strict=True):
        row |= {"clicked": [False] * length, "purchased": [False] * length}
    for name, (rows, schema) in given.items():
        batches = pipeline | f"Make {name}" >> beam.Create([pa.RecordBatch.from_pylist(rows, schema)])
        resolved = batches | f"Resolve {name}" >> ResolveItems(name, items)
        assert_that(rows_of(resolved.kept, f"Rows {name}"), equal_to(expected[name]), label=f"Check {name}")
        told = resolved.rejects | f"Rejects {name}" >> beam.Map(
            lambda reject: (reject.table, reject.reason, json.loads(reject.line))
        )
        bad = {column: value for column, value in rows[1].items() if column != "new_item"}  # the log has no such column
        assert_that(told, equal_to([(name, "unknown item", bad)]), label=f"Check rejects of {name}")
    pipeline.run().wait_until_finish()


def test_a_user_is_in_one_shard_whatever_the_batch() -> None:
    schema = pa.schema([("user_id", pa.string()), ("n", pa.int64())])
    batches = [
        pa.RecordBatch.from_pylist([{"user_id": f"u{u}", "n": n} for u in range(n, 40)], schema) for n in range(3)
    ]
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        shards = pipeline | beam.Create(batches) | ShardBy("user_id", SCENARIO)
        users = (
            shards
            | beam.FlatMap(lambda pair: [(user, pair[0]) for user in pair[1].column("user_id").to_pylist()])
            | beam.GroupByKey()
        )
        assert_that(users | beam.Map(lambda pair: len(set(pair[1]))), equal_to([1] * 40), label="One shard")
        assert_that(
            shards | "Shards" >> beam.Keys() | beam.Distinct(),
            equal_to(range(SCENARIO.pipeline.join_shards)),
            label="All",
        )


def test_boundaries_and_the_logs_end_come_from_all_batches() -> None:
    hour = 3600
    batches = [pa.RecordBatch.from_pydict({"time": [h * hour + 1 for h in hours]}) for hours in ([0, 3, 7], [1, 9])]
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        times = pipeline | beam.Create(batches)
        boundaries = times | FindBoundaries(Split(train=0.6, validation=0.2))
        assert_that(boundaries, equal_to([(4 * hour, 8 * hour)]), label="Boundaries")
        later = pipeline | "Later" >> beam.Create([pa.RecordBatch.from_pydict({"time": [11 * hour]})])
        assert_that((times, later) | FindLogEnd(), equal_to([11 * hour + 1]), label="End")
        nothing = pipeline | "Nothing" >> beam.Create([]).with_output_types(pa.RecordBatch)
        assert_that((nothing,) | "EndOfNothing" >> FindLogEnd(), equal_to([0]), label="No end")
