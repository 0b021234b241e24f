"""Statistics from counts, against NumPy on the plain values."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prepared_statistics import FEATURES, random_records, scenario_of
from tensorflow_metadata.proto.v0 import statistics_pb2

from pipeline.data_statistics import (
    NAMED_VALUES,
    QUANTILE_BUCKETS,
    STATISTICS_FILE,
    data_statistics,
    dump_data_statistics,
    load_data_statistics,
)
from pipeline.errors import InputError
from pipeline.features import Features
from pipeline.value_counts import add_counts, count_columns, counted_specs

SCENARIO = scenario_of()


def counts_of(records: pa.RecordBatch, features: Features = SCENARIO.features) -> dict[str, pa.RecordBatch]:
    return {name: add_counts([batch]) for name, batch in count_columns(features, records)}


def statistics_of(records: pa.RecordBatch, features: Features = SCENARIO.features, **replaced: pa.RecordBatch) -> Any:
    """The training part's features by name; `replaced` are counts of columns in place of the records'."""
    statistics = data_statistics(features, {"train": {**counts_of(records, features), **replaced}})
    return {feature.name: feature for feature in statistics.datasets[0].features}


def counted(values: dict[Any, int], dtype: pa.DataType) -> pa.RecordBatch:
    keys = sorted(values)
    return pa.RecordBatch.from_pydict(
        {"value": pa.array(keys, dtype), "count": pa.array([values[k] for k in keys], pa.int64())}
    )


def test_every_part_and_every_counted_column_is_described() -> None:
    train, validation = random_records(80), random_records(20, seed=1)
    statistics = data_statistics(SCENARIO.features, {"train": counts_of(train), "validation": counts_of(validation)})
    assert [(d.name, d.num_examples) for d in statistics.datasets] == [
        ("train", 80), ("validation", 20), ("test", 0), ("new_items", 0),
    ]  # fmt: skip
    names = [spec.name for spec in counted_specs(SCENARIO.features)]
    assert [[f.name for f in d.features] for d in statistics.datasets] == [names, names, [], []]
    kinds = {feature.name: feature.type for feature in statistics.datasets[0].features}
    of = statistics_pb2.FeatureNameStatistics
    assert (kinds["behavior_brand"], kinds["candidate_price"], kinds["behavior_count"]) == (of.STRING, of.FLOAT, of.INT)


def test_a_number_is_described_as_numpy_does() -> None:
    records = random_records(200, missing_prices=0.2)
    prices = records.column("candidate_price").flatten().to_numpy()
    there = prices[~np.isnan(prices)]
    statistics = statistics_of(records)["candidate_price"].num_stats
    # prices are counted to four digits
    for found, expected in (
        (statistics.mean, there.mean()),
        (statistics.std_dev, there.std()),
        (statistics.min, there.min()),
        (statistics.max, there.max()),
        (statistics.median, np.quantile(there, 0.5, method="inverted_cdf")),
    ):
        assert found == pytest.approx(expected, rel=1e-3)
    common = statistics.common_stats
    assert (common.num_missing, common.num_non_missing) == (len(prices) - len(there), len(there))
    assert statistics.histograms[0].num_nan == len(prices) - len(there)
    labels = statistics_of(records)["candidate_label"].num_stats
    assert [(b.low_value, b.high_value) for b in labels.histograms[0].buckets] == [(0, 0), (1, 1)]
    assert labels.num_zeros == labels.histograms[0].buckets[0].sample_count


@settings(max_examples=50)
@given(st.dictionaries(st.integers(-500, 500), st.integers(1, 400), min_size=1, max_size=400))
def test_a_histogram_is_exact_and_of_about_equal_weights(values: dict[int, int]) -> None:
    statistics = statistics_of(random_records(5), candidate_price=counted(values, pa.float64()))
    buckets = statistics["candidate_price"].num_stats.histograms[0].buckets
    assert len(buckets) <= QUANTILE_BUCKETS
    assert all(before.high_value < after.low_value for before, after in pairwise(buckets))
    for bucket in buckets:
        inside = {v: n for v, n in values.items() if bucket.low_value <= v <= bucket.high_value}
        assert {min(inside), max(inside)} == {bucket.low_value, bucket.high_value}
        assert bucket.sample_count == sum(inside.values())
        if len(inside) > 1:
            assert bucket.sample_count <= 3 * sum(values.values()) / QUANTILE_BUCKETS
    assert sum(bucket.sample_count for bucket in buckets) == sum(values.values())
    if len(values) <= QUANTILE_BUCKETS:
        assert len(buckets) == len(values)


def test_a_text_names_its_most_frequent_values_and_counts_the_rest_together() -> None:
    values = {f"v{n:04d}": 1 + n % 7 for n in range(NAMED_VALUES + 76)} | {"": 9, "é": 500}
    statistics = statistics_of(random_records(5), candidate_brand=counted(values, pa.string()))["candidate_brand"]
    text = statistics.string_stats
    named = text.rank_histogram.buckets[:-1]
    expected = sorted((v for v in values if v), key=lambda v: (-values[v], v))[:NAMED_VALUES]
    assert [(b.label, b.sample_count) for b in named] == [(v, values[v]) for v in expected]
    assert [b.low_rank for b in named] == [b.high_rank for b in named] == list(range(NAMED_VALUES))
    rest = text.rank_histogram.buckets[-1]
    assert (rest.label, rest.low_rank, rest.high_rank) == ("", NAMED_VALUES, len(values) - 2)
    assert text.unique == len(values) - 1
    assert sum(b.sample_count for b in text.rank_histogram.buckets) == sum(values.values()) - 9
    assert [(top.value, top.frequency) for top in text.top_values[:2]] == [("é", 500), ("v0006", 7)]
    assert text.common_stats.num_missing == 9
    assert text.avg_length == pytest.approx((500 + 5 * (sum(values.values()) - 509)) / (sum(values.values()) - 9), 1e-6)


def test_a_text_of_several_values_counts_what_holds_them() -> None:
    common = statistics_of(random_records(40))["query_terms"].string_stats.common_stats
    assert (common.num_non_missing, common.tot_num_values, common.avg_num_values) == (40, 80, 2)
    assert (common.min_num_values, common.max_num_values) == (0, 0), "not known"


def test_a_text_of_a_hashed_table_says_so() -> None:
    hashed = scenario_of({**FEATURES, "tables": {"item": {}, "brand": {"hash_buckets": 7}, "term": {}}})
    statistics = statistics_of(random_records(40), hashed.features)
    assert {custom.name: custom.num for custom in statistics["behavior_brand"].custom_stats} == {"hash_buckets": 1024}
    assert not statistics["behavior_item_id"].custom_stats
    assert statistics["behavior_brand"].string_stats.unique == 4


def test_columns_without_any_value_are_described_too() -> None:
    records = random_records(40, behaviors=0, missing_prices=1.0)
    statistics = statistics_of(records)
    assert statistics["behavior_brand"].WhichOneof("stats") == "string_stats"
    assert statistics["candidate_price"].num_stats.common_stats.num_missing == 200
    assert not statistics["candidate_price"].num_stats.histograms[0].buckets
    assert statistics["behavior_price"].num_stats.common_stats.num_missing == 0


def test_the_file_gives_back_the_message(tmp_path: Path) -> None:
    statistics = data_statistics(SCENARIO.features, {"test": counts_of(random_records(30, brands=('"ü\n', "b")))})
    (tmp_path / STATISTICS_FILE).write_bytes(dump_data_statistics(statistics))
    assert load_data_statistics(tmp_path) == statistics
    (tmp_path / STATISTICS_FILE).write_bytes(b"datasets {")
    with pytest.raises(InputError, match=r"data_statistics\.pb: is damaged .*; preprocess again"):
        load_data_statistics(tmp_path)
    with pytest.raises(InputError, match=r"data_statistics\.pb: not there; run `awmoe preprocess` again"):
        load_data_statistics(tmp_path / "none")
