"""Record columns and their schema."""

import numpy as np
import pyarrow as pa
from google.protobuf import text_format
from small_log import small_scenario

from pipeline.item_index import ItemIndex
from pipeline.raw_tables import items_schema
from pipeline.records import build_records, record_schema, record_specs

FEATURES = small_scenario().features
ITEMS = ItemIndex(
    ItemIndex.build(
        pa.RecordBatch.from_pylist(
            [
                {
                    "item_id": f"i{i}",
                    "title": "",
                    "brand": f"b{i}",
                    "tags": "",
                    "price": float(i),
                    "rating": float("nan"),
                }
                for i in range(3)
            ],
            items_schema(FEATURES),
        ),
        ("brand",),
        seed=1,
    )
)
SESSIONS = pa.RecordBatch.from_pydict(
    {
        "session_id": ["s", "t"],
        "user_id": ["u", "v"],
        "time": [100, 200],
        "candidates": pa.array([[2, 0], [1]], pa.list_(pa.int32())),
        "label": pa.array([[0.0, 1.0], [0.0]], pa.list_(pa.float32())),
        "behavior_item": pa.array([[], [1, 1, 0]], pa.list_(pa.int32())),
        "behavior_action": pa.array([[], [1, 0, 0]], pa.list_(pa.int8())),
        "behavior_age_days": pa.array([[], [0.5, 1.0, 2.0]], pa.list_(pa.float32())),
        "query_terms": ["red shoes", ""],
        "user_age_group": ["old", ""],
        "user_activity": pa.array([0.0, 3.0], pa.float32()),
    }
)
NUMBERS = {name: np.arange(3, dtype=np.float32) for name in ("sales", "maker_clicks_2d", "item_age", "with")}


def test_a_record_has_lists_of_behaviors_and_candidates_and_single_values() -> None:
    records = build_records(FEATURES, SESSIONS, ITEMS, NUMBERS)
    assert records.schema.names == [spec.name for spec in record_specs(FEATURES)]
    rows = records.to_pylist()
    assert [row["behavior_item_id"] for row in rows] == [[], ["i1", "i1", "i0"]]
    assert rows[1]["behavior_action"] == ["purchase", "click", "click"]
    assert [row["behavior_count"] for row in rows] == [[0], [3]]
    assert [row["candidate_maker"] for row in rows] == [["b2", "b0"], ["b1"]]
    assert [row["candidate_sales"] for row in rows] == [[0.0, 1.0], [2.0]]
    assert [row["candidate_label"] for row in rows] == [[0.0, 1.0], [0.0]]
    assert [row["query_terms"] for row in rows] == [["red shoes"], [""]]
    assert [row["session_id"] for row in rows] == [["s"], ["t"]]


def test_a_slice_of_sessions_gives_the_slice_of_records() -> None:
    whole = build_records(FEATURES, SESSIONS, ITEMS, NUMBERS)
    second = build_records(FEATURES, SESSIONS.slice(1, 1), ITEMS, {name: n[2:] for name, n in NUMBERS.items()})
    assert repr(second.to_pylist()) == repr(whole.slice(1, 1).to_pylist())  # repr: NaN equals NaN


def test_the_schema_tells_single_values_from_lists() -> None:
    schema = {feature.name: text_format.MessageToString(feature) for feature in record_schema(FEATURES).feature}
    assert "type: INT" in schema["time"]
    assert "shape" in schema["time"]
    assert "type: FLOAT" in schema["candidate_price"]
    assert "min: 1" in schema["candidate_price"]
    assert "type: BYTES" in schema["behavior_item_id"]
    assert "min: 0" in schema["behavior_item_id"]
