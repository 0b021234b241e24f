"""The catalog completes ids from the pipeline's serving tables; expectations are written by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from pipeline.errors import InputError
from pipeline.scenario_file import parse_scenario
from serving.catalog import Catalog
from serving.errors import RequestError
from serving.request import gate_request, score_request

RAW: dict[str, Any] = {
    "name": "shop",
    "features": {
        "tables": {"item": {}, "brand": {}, "action": {}, "term": {}},
        "item": {
            "item_id": {"kind": "categorical", "table": "item"},
            "brand": {"kind": "categorical", "table": "brand"},
            "price": {"kind": "numeric", "log": True, "optional": True},
        },
        "behavior": {"action": {"kind": "categorical", "table": "action"}, "age_days": {"kind": "numeric"}},
        "query": {"terms": {"kind": "multi_categorical", "table": "term"}},
        "as_of": {
            "purchases": {"entity": "item_id", "measure": "count", "action": "purchase"},
            "age": {"entity": "item_id", "measure": "age_days"},
            "brand_purchases": {"entity": "brand", "measure": "count", "action": "purchase"},
            "activity": {"entity": "user", "measure": "count"},
            "bought_with": {"entity": "item_id", "measure": "bought_with"},
        },
    },
    "pipeline": {"behaviors": {"click_days": 7, "purchase_days": 30, "max_behaviors": 3}},
}
SCENARIO = parse_scenario(RAW, "shop")
FEATURES = SCENARIO.features
TABLES: dict[str, dict[str, list[Any]]] = {
    "items": {
        "item_id": ["i1", "i2", "i3", "i4"],
        "title": ["Red shoe", "Blue shoe", None, "Hat"],
        "brand": ["acme", "acme", None, "zeta"],
        "price": [10.0, 20.5, None, 5.0],
    },
    "as_of_item_id": {"item_id": ["i1", "i2"], "purchases": [7, 2], "age": [30.5, 4.0]},
    "as_of_brand": {"brand": ["acme"], "brand_purchases": [9]},
    "as_of_user": {"user_id": ["u1"], "activity": [12]},
    "co_purchases": {
        "item_id": ["i1", "i2", "i1", "i4", "i4", "i1", "gone", "i2"],
        "other_item_id": ["i2", "i1", "i4", "i1", "i2", "i1", "i1", "i4"],
        "count": [3, 3, 5, 5, 1, 100, 100, 1],
    },
}
REQUEST: dict[str, Any] = {
    "user_id": "u1",
    "query": {"terms": "red shoe"},
    "behaviors": [
        {"item_id": "i1", "action": "click", "age_days": 0.5},
        {"item_id": "i4", "action": "purchase", "age_days": 2.0},
        {"item_id": "i1", "action": "purchase", "age_days": 9.0},
    ],
    "candidates": ["i2", "i1", "i3"],
}


def write_tables(directory: Path, **changed: dict[str, list[Any]]) -> Path:
    (directory / "serving").mkdir(parents=True)
    for name, columns in {**TABLES, **changed}.items():
        pq.write_table(pa.table(columns), directory / "serving" / f"{name}.parquet")
    return directory


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return Catalog.open(write_tables(tmp_path) / "serving", SCENARIO)


def behavior(item_id: str, action: str | None, age_days: float) -> dict[str, Any]:
    return {"item_id": item_id, "action": action, "age_days": age_days}


def test_items_and_their_numbers_are_filled_in(catalog: Catalog) -> None:
    session, (i2, i1, i3) = catalog.complete(REQUEST)

    assert session.user == {"activity": 12}
    assert session.query == {"terms": "red shoe"}
    assert session.behaviors[1] == {
        "item_id": "i4", "brand": "zeta", "price": 5.0, "action": "purchase", "age_days": 2.0
    }  # fmt: skip
    # distinct behaviour items are i1 and i4: i2 was bought with them 3 + 1 times, i1 with i4 5 times
    assert i2 == {
        "item_id": "i2", "brand": "acme", "price": 20.5,
        "purchases": 2, "age": 4.0, "brand_purchases": 9, "bought_with": 4,
    }  # fmt: skip
    assert i1["bought_with"] == 5
    # i3 has no brand, no price, no events
    assert (i3["brand"], i3["price"], i3["purchases"], i3["brand_purchases"]) == (None, None, 0, 0)
    assert math.isnan(i3["age"])
    assert i3["bought_with"] == 0


def with_impression(tmp_path: Path, **impression: Any) -> Catalog:
    raw = {**RAW, "features": {**RAW["features"], "impression": impression}}
    return Catalog.open(write_tables(tmp_path) / "serving", parse_scenario(raw, "shop"))


def test_an_impression_comes_with_the_session(tmp_path: Path) -> None:
    optional = {"kind": "numeric", "optional": True}
    catalog = with_impression(tmp_path, position={"kind": "numeric"}, shown_price=optional)
    shown = [{"item_id": "i2", "position": 1, "shown_price": 19.5}, {"item_id": "i4", "position": 2}]
    session, (i2, i4) = catalog.complete({**REQUEST, "candidates": shown})
    assert i2 == {
        "item_id": "i2", "brand": "acme", "price": 20.5, "position": 1, "shown_price": 19.5,
        "purchases": 2, "age": 4.0, "brand_purchases": 9, "bought_with": 4,
    }  # fmt: skip
    assert i4["price"] == 5.0
    request = score_request(catalog.features, session, [i2, i4], np.zeros(4, np.float32))
    assert tf.make_ndarray(request.inputs["candidate_position"]).tolist() == [[1, 2]]
    np.testing.assert_array_equal(tf.make_ndarray(request.inputs["candidate_shown_price"]), [[19.5, np.nan]])


def test_ids_do_where_nothing_of_an_impression_is_required(tmp_path: Path, catalog: Catalog) -> None:
    optional = with_impression(tmp_path / "optional", shown_price={"kind": "numeric", "optional": True})
    _, (candidate, _) = optional.complete({**REQUEST, "candidates": ["i1", {"item_id": "i2", "shown_price": 3}]})
    assert candidate["shown_price"] is None
    as_mapping = catalog.complete({**REQUEST, "candidates": [{"item_id": i} for i in REQUEST["candidates"]]})
    assert repr(as_mapping) == repr(catalog.complete(REQUEST))  # NaN equals NaN


@pytest.mark.parametrize(
    ("candidate", "message"),
    [
        (
            "i2",
            r"candidate 1: lacks `position`, which only the session knows; give {\"item_id\": ..., \"position\": ...}",
        ),
        ({"item_id": "i2", "position": None}, r"candidate 1: lacks `position`"),
        ({"item_id": "i2", "postion": 2}, r"candidate 1: unknown key `postion`; allowed are item_id, position$"),
        ({"item_id": "i2", "price": 2}, r"candidate 1: unknown key `price`; allowed are item_id, position$"),
        ({"position": 2}, r"unknown item None"),
        ({"item_id": "i9", "position": 2}, r"unknown item 'i9'"),
        (["i2"], r"unknown item \['i2'\]"),
    ],
)
def test_a_wrong_impression_is_named(tmp_path: Path, candidate: Any, message: str) -> None:
    catalog = with_impression(tmp_path, position={"kind": "numeric"})
    with pytest.raises(RequestError, match=message):
        catalog.complete({"candidates": [{"item_id": "i1", "position": 1}, candidate]})


def test_the_result_is_what_a_request_takes(catalog: Catalog) -> None:
    session, candidates = catalog.complete(REQUEST)
    gate_request(FEATURES, session)
    request = score_request(FEATURES, session, candidates, np.zeros(4, np.float32))
    assert request.inputs["candidate_brand"].string_val == [b"acme", b"acme", b""]


def test_behaviors_are_kept_as_in_training(catalog: Catalog) -> None:
    given = [
        behavior("i2", "purchase", 31.0),  # older than 30 days
        behavior("i2", "click", 7.5),  # older than 7 days
        behavior("i4", "purchase", 30.0),  # in its window, and the fourth
        behavior("i4", "click", 7.0),
        behavior("i3", "purchase", 7.0),  # at one time a purchase comes first
        behavior("i1", "click", 0.5),
    ]
    session, (i1, i2) = catalog.complete({"candidates": ["i1", "i2"], "behaviors": given})

    kept = [(b["item_id"], b["action"], b["age_days"]) for b in session.behaviors]
    assert kept == [("i1", "click", 0.5), ("i3", "purchase", 7.0), ("i4", "click", 7.0)]
    # with i1, i3 and i4 only
    assert (i1["bought_with"], i2["bought_with"]) == (5, 3 + 1)


def test_where_no_action_is_declared_every_behavior_is_a_purchase(tmp_path: Path) -> None:
    raw = {**RAW, "features": {**RAW["features"], "behavior": {"age_days": {"kind": "numeric"}}}}
    raw["features"]["tables"] = {name: {} for name in ("item", "brand", "term")}
    catalog = Catalog.open(write_tables(tmp_path) / "serving", parse_scenario(raw, "reviews"))
    given = [{"item_id": "i1", "age_days": 29.0}, behavior("i2", "click", 29.0)]
    session, _ = catalog.complete({"candidates": ["i1"], "behaviors": given})
    assert session.behaviors == [{"item_id": "i1", "brand": "acme", "price": 10.0, "age_days": 29.0}]


def test_a_user_nobody_knows_has_no_events(catalog: Catalog) -> None:
    session, (candidate,) = catalog.complete({"user_id": "new", "candidates": ["i1"]})
    assert (session.behaviors, session.user) == ([], {"activity": 0})
    assert candidate["bought_with"] == 0
    assert catalog.complete({"candidates": ["i1"]})[0].user == {"activity": 0}


def test_titles_are_for_people(catalog: Catalog) -> None:
    assert [catalog.title(item_id) for item_id in ("i1", "i3")] == ["Red shoe", "i3"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"candidates": ["i1", "i9"]}, r"unknown item 'i9'; the catalog has 4 items"),
        ({"candidates": [7]}, r"unknown item 7"),
        ({"candidates": []}, r"`candidates` must be a list of item ids or of mappings, at least one"),
        ({"candidates": "i1"}, r"`candidates` must be a list of item ids"),
        ({"behaviors": [behavior("i8", "click", 1)]}, r"unknown item 'i8'"),
        ({"behaviors": [{"action": "click", "age_days": 1}]}, r"unknown item None"),
        ({"behaviors": [behavior("i1", "buy!!", 1)]}, r"behavior 0: `action` must be click or purchase, not 'buy!!'"),
        ({"behaviors": [behavior("i1", None, 1)]}, r"behavior 0: `action` must be click or purchase, not None"),
        ({"behaviors": [behavior("i1", "click", -1)]}, r"behavior 0: `age_days` must be a number of days, .*not -1"),
        ({"behaviors": [behavior("i1", "click", math.nan)]}, r"`age_days` must be a number of days, .*not nan"),
        ({"behaviors": [{"item_id": "i1", "action": "click"}]}, r"`age_days` must be a number of days, .*not None"),
        ({"user_id": ["x"]}, r"`user_id` must be a string, not \['x'\]"),
        ({"behaviors": [{"item_id": "i1", "when": 3}]}, r"behaviors: unknown key `when`; allowed are item_id, action"),
        ({"behaviors": "i1"}, r"`behaviors` must be a list of mappings"),
        ({"query": "red shoe"}, r"`query` must be a mapping of fields to values, not 'red shoe'"),
        ({"page": 2}, r"unknown key `page`; a session request has user_id"),
    ],
)
def test_a_wrong_request_is_named(changed: dict[str, Any], message: str, catalog: Catalog) -> None:
    with pytest.raises(RequestError, match=message):
        catalog.complete({**REQUEST, **changed})


def test_a_missing_table_or_column_is_named(tmp_path: Path) -> None:
    write_tables(tmp_path, as_of_brand={"brand": ["acme"]})
    with pytest.raises(InputError, match=r"as_of_brand.parquet: has no column `brand_purchases`; preprocess again"):
        Catalog.open(tmp_path / "serving", SCENARIO)
    (tmp_path / "serving" / "items.parquet").unlink()
    with pytest.raises(InputError, match=r"items.parquet: not there; run `awmoe preprocess` first"):
        Catalog.open(tmp_path / "serving", SCENARIO)
