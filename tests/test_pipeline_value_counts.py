"""Vocabularies and statistics from counts."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.encoding_assets import NumericStatistics
from pipeline.features import Features, Numeric, Table
from pipeline.value_counts import add_counts, count_values, numeric_statistics, vocabulary

FEATURES = Features.model_validate(
    {
        "tables": {"item": {}, "tag": {}, "hashed": {"hash_buckets": 4}},
        "item": {
            "item_id": {"kind": "categorical", "table": "item"},
            "shop": {"kind": "categorical", "table": "hashed"},
            "price": {"kind": "numeric", "log": True, "optional": True},
        },
        "query": {"tags": {"kind": "multi_categorical", "table": "tag", "separator": "|"}},
    }
)
RECORDS = pa.RecordBatch.from_pydict(
    {
        "behavior_item_id": [["a", "b"], []],
        "behavior_shop": [["s", "s"], []],
        "behavior_price": pa.array([[0.0, float("nan")], []], pa.list_(pa.float32())),
        "candidate_item_id": [["a"], ["a", "c"]],
        "candidate_shop": [["s"], ["s", "s"]],
        "candidate_price": pa.array([[2.0], [2.0001, 1e9]], pa.list_(pa.float32())),
        "query_tags": [["Red|blue"], ["|blue||"]],
    }
)


def counts(values: dict[float, int]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({"value": [float(v) for v in values], "count": list(values.values())})


def test_features_that_share_a_table_or_a_statistic_are_counted_together() -> None:
    by_name: dict[str, list[pa.RecordBatch]] = {}
    for name, batch in count_values(FEATURES, RECORDS):
        by_name.setdefault(name, []).append(batch)
    added = {name: add_counts(batches).to_pydict() for name, batches in by_name.items()}
    assert added.keys() == {"item", "tag", "item_price"}
    assert added["item"] == {"value": ["a", "b", "c"], "count": [3, 1, 1]}
    assert added["tag"] == {"value": ["Red", "blue"], "count": [1, 2]}
    # log(1 + x) to four digits: 2 and 2.0001 are one value, the missing one is none
    assert added["item_price"] == {"value": [0.0, 1.099, 20.72], "count": [1, 2, 1]}


def test_a_vocabulary_is_by_count_then_value_and_drops_rare_values() -> None:
    batch = pa.RecordBatch.from_pydict({"value": ["b", "a", "é", "c"], "count": [2, 2, 5, 1]})
    assert vocabulary(batch, Table()) == ["é", "a", "b", "c"]
    assert vocabulary(batch, Table(min_count=2)) == ["é", "a", "b"]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-999, 999), min_size=1, max_size=60), st.integers(2, 5))
def test_statistics_equal_those_of_the_plain_values(values: list[int], buckets: int) -> None:
    batch = counts({v: values.count(v) for v in sorted(set(values))})
    statistics = numeric_statistics(batch, Numeric(kind="numeric", buckets=buckets))
    assert statistics.mean == pytest.approx(np.mean(values))
    assert statistics.std == pytest.approx(np.std(values) if len(set(values)) > 1 else 1.0)
    shares = np.arange(1, buckets) / buckets
    assert statistics.boundaries == pytest.approx(np.quantile(values, shares, method="inverted_cdf"))


def test_a_constant_number_and_one_without_values_stay_usable() -> None:
    assert numeric_statistics(counts({4: 7}), Numeric(kind="numeric")) == NumericStatistics(4.0, 1.0)
    assert numeric_statistics(counts({}), Numeric(kind="numeric", buckets=3)) == NumericStatistics(0.0, 1.0, (0.0, 0.0))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 1e6, width=32), min_size=1, max_size=30), st.integers(0, 29))
def test_counts_do_not_depend_on_how_records_are_batched(prices: list[float], cut: int) -> None:
    def added(*parts: list[float]) -> dict[str, list[float]]:
        batches = []
        for part in parts:
            records = RECORDS.slice(0, 1).set_column(
                RECORDS.schema.get_field_index("candidate_price"),
                "candidate_price",
                pa.array([part], pa.list_(pa.float32())),
            )
            batches += [batch for name, batch in count_values(FEATURES, records) if name == "item_price"][1:]
        return add_counts(batches).to_pydict()

    assert added(prices) == added(prices[cut:], prices[:cut])
