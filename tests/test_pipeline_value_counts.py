"""Counts of the records' values, and vocabularies and statistics from them."""

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.encoding_assets import NumericStatistics
from pipeline.features import Features
from pipeline.value_counts import add_counts, count_columns, counted_specs, numeric_statistics, vocabularies

FEATURES = Features.model_validate(
    {
        "tables": {"item": {}, "tag": {}, "hashed": {"hash_buckets": 4}},
        "item": {
            "item_id": {"kind": "categorical", "table": "item"},
            "shop": {"kind": "categorical", "table": "hashed"},
            "price": {"kind": "numeric", "log": True, "optional": True},
        },
        "query": {"tags": {"kind": "multi_categorical", "table": "tag", "separator": "||"}},
    }
)
RECORDS = pa.RecordBatch.from_pydict(
    {
        "behavior_item_id": [["a", ""], [], ["b"]],
        "behavior_shop": [["s", "s"], [], [""]],
        "behavior_price": pa.array([[0.0, math.nan], [], [-0.0]], pa.list_(pa.float32())),
        "candidate_item_id": [["a"], ["a", "c"], ["d"]],
        "candidate_shop": [["s"], ["s", "t"], [""]],
        "candidate_price": pa.array([[2.0], [2.0001, math.inf], [123456.0]], pa.list_(pa.float32())),
        "query_tags": [["Red||blue"], ["||blue||||x|y"], ["||||"]],
        "behavior_count": [[2], [0], [1]],
        "candidate_count": [[1], [2], [1]],
        "session_id": [["s1"], ["s2"], ["s3"]],
        "user_id": [["u"], ["u"], ["u"]],
        "time": [[1], [2], [3]],
        "candidate_label": pa.array([[1.0], [0.0, 0.0], [1.0]], pa.list_(pa.float32())),
    }
)


def counted(features: Features, *batches: pa.RecordBatch) -> dict[str, pa.RecordBatch]:
    """The added counts of some batches, by column."""
    by_name: dict[str, list[pa.RecordBatch]] = {}
    for batch in batches:
        for name, counts in count_columns(features, batch):
            by_name.setdefault(name, []).append(counts)
    return {name: add_counts(counts) for name, counts in by_name.items()}


def as_dict(counts: pa.RecordBatch) -> dict[Any, int]:
    return dict(zip(*counts.to_pydict().values(), strict=True))


def test_every_column_but_the_identity_is_counted() -> None:
    counts = counted(FEATURES, RECORDS)
    assert list(counts) == [spec.name for spec in counted_specs(FEATURES)]
    assert set(counts) == set(RECORDS.schema.names) - {"session_id", "user_id", "time"}
    assert as_dict(counts["behavior_item_id"]) == {"": 1, "a": 1, "b": 1}
    assert as_dict(counts["candidate_item_id"]) == {"a": 2, "c": 1, "d": 1}
    assert as_dict(counts["behavior_count"]) == {0.0: 1, 1.0: 1, 2.0: 1}
    assert as_dict(counts["candidate_label"]) == {0.0: 2, 1.0: 2}
    for name, batch in counts.items():
        text = name.endswith(("item_id", "shop", "tags"))
        assert batch.schema.types == [pa.string() if text else pa.float64(), pa.int64()], name


def test_numbers_are_rounded_and_one_that_is_missing_is_null() -> None:
    counts = counted(FEATURES, RECORDS)
    assert as_dict(counts["behavior_price"]) == {0.0: 2, None: 1}
    assert as_dict(counts["candidate_price"]) == {2.0: 2, 123500.0: 1, None: 1}
    assert counts["candidate_price"].column("value").to_pylist()[-1] is None


def test_a_text_of_several_values_counts_each_and_one_of_none_is_missing_once() -> None:
    assert as_dict(counted(FEATURES, RECORDS)["query_tags"]) == {"": 1, "Red": 1, "blue": 2, "x|y": 1}


def test_texts_of_a_hashed_table_are_counted_by_bucket() -> None:
    behavior, candidate = (as_dict(counted(FEATURES, RECORDS)[f"{group}_shop"]) for group in ("behavior", "candidate"))
    (bucket,) = set(behavior) - {""}
    assert (behavior[""], behavior[bucket], candidate[bucket]) == (1, 2, 2)
    assert sorted(candidate.values()) == [1, 1, 2]
    assert all(0 <= int(value) < 1024 for value in candidate if value)
    many = RECORDS.slice(0, 1).set_column(4, "candidate_shop", pa.array([[f"shop {i}" for i in range(9000)]]))
    assert len(counted(FEATURES, many)["candidate_shop"]) == 1024


def test_columns_that_share_a_table_or_a_statistic_are_added() -> None:
    counts = counted(FEATURES, RECORDS)
    assert vocabularies(FEATURES, counts) == {"item": ["a", "b", "c", "d"], "tag": ["blue", "Red", "x|y"]}
    logs = np.log1p([0, 0, 2, 2, 123500])
    (statistics,) = numeric_statistics(FEATURES, counts).values()
    assert (statistics.mean, statistics.std) == (pytest.approx(logs.mean()), pytest.approx(logs.std()))


def test_a_vocabulary_is_by_count_then_value_and_drops_rare_values() -> None:
    batch = pa.RecordBatch.from_pydict({"value": ["b", "a", "é", "c", ""], "count": [2, 2, 5, 1, 9]})
    for least, expected in ((1, ["é", "a", "b", "c"]), (2, ["é", "a", "b"])):
        raw = FEATURES.model_dump() | {"tables": {"item": {"min_count": least}, "tag": {}, "hashed": {}}}
        assert vocabularies(Features.model_validate(raw), {"candidate_item_id": batch})["item"] == expected


def price_statistics(values: dict[float, int], **declaration: Any) -> NumericStatistics:
    """The statistics of a number that stands with these counts in candidates only."""
    raw = FEATURES.model_dump(exclude_unset=True)
    raw["item"]["price"] = {"kind": "numeric", **declaration}
    batch = pa.RecordBatch.from_pydict(
        {"value": pa.array(values, pa.float64()), "count": pa.array(values.values(), pa.int64())}
    )
    return numeric_statistics(Features.model_validate(raw), {"candidate_price": batch})["item_price"]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-999, 999), min_size=1, max_size=60), st.integers(2, 5))
def test_statistics_equal_those_of_the_plain_values(values: list[int], buckets: int) -> None:
    statistics = price_statistics({v: values.count(v) for v in sorted(set(values))}, buckets=buckets)
    assert statistics.mean == pytest.approx(np.mean(values))
    assert statistics.std == pytest.approx(np.std(values) if len(set(values)) > 1 else 1.0)
    shares = np.arange(1, buckets) / buckets
    assert statistics.boundaries == pytest.approx(np.quantile(values, shares, method="inverted_cdf"))


def test_a_constant_number_and_one_without_values_stay_usable() -> None:
    assert price_statistics({4: 7}) == NumericStatistics(4.0, 1.0)
    assert price_statistics({}, buckets=3) == NumericStatistics(0.0, 1.0, (0.0, 0.0))
    assert numeric_statistics(FEATURES, {}) == {"item_price": NumericStatistics(0.0, 1.0)}
    assert vocabularies(FEATURES, {}) == {"item": [], "tag": []}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 1e6, width=32), st.sampled_from(["", "a", "a||b", "b||||"])), max_size=30),
    st.integers(0, 29),
)
def test_counts_do_not_depend_on_how_records_are_batched(rows: list[tuple[float, str]], cut: int) -> None:
    prices, tags = [[price] for price, _ in rows], [[text] for _, text in rows]
    of = {
        spec.name: pa.array([[]] * len(rows), RECORDS.schema.field(spec.name).type) for spec in counted_specs(FEATURES)
    }
    of |= {
        "candidate_price": pa.array(prices, pa.list_(pa.float32())),
        "query_tags": pa.array(tags, pa.list_(pa.string())),
    }
    records = pa.RecordBatch.from_pydict(of)
    whole, parts = counted(FEATURES, records), counted(FEATURES, records.slice(cut), records.slice(0, cut))
    assert {name: as_dict(batch) for name, batch in whole.items()} == {
        name: as_dict(batch) for name, batch in parts.items()
    }
