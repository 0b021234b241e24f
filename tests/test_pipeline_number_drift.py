"""Drift of numbers against the divergence of the plain values, by an obvious reference."""

from collections import Counter
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prepared_statistics import random_records, scenario_of
from scipy.spatial.distance import jensenshannon
from tensorflow_metadata.proto.v0 import statistics_pb2

from pipeline.data_statistics import QUANTILE_BUCKETS, data_statistics
from pipeline.validation.number_drift import number_drift
from pipeline.value_counts import add_counts, count_columns

FEATURES = scenario_of().features
COUNTS = {name: add_counts([batch]) for name, batch in count_columns(FEATURES, random_records(3))}
NUMBERS = st.lists(st.integers(-9, 60), min_size=1, max_size=120)


def message(values: Sequence[float], times: int = 1) -> statistics_pb2.NumericStatistics:
    """What the job writes of these values."""
    found, counts = np.unique(np.asarray(values, np.float64), return_counts=True)
    batch = pa.RecordBatch.from_pydict({"value": found, "count": pa.array(times * counts, pa.int64())})
    statistics = data_statistics(FEATURES, {"train": {**COUNTS, "candidate_price": batch}})
    return next(f.num_stats for f in statistics.datasets[0].features if f.name == "candidate_price")


def reference(old: list[int], new: list[int]) -> float:
    """Bins end at the values that are twentieths of both distributions together."""

    counted = [(Counter(values), values) for values in (old, new)]
    until, total = {}, Fraction()
    for value in sorted({*old, *new}):
        total += sum(Fraction(times[value], 2 * len(values)) for times, values in counted)
        until[value] = total
    ends = {min(v for v in until if until[v] >= Fraction(k, 20)) for k in range(1, 20)}
    edges = [-np.inf, *[end + 0.5 for end in sorted(ends)], np.inf]
    p, q = (np.histogram(values, edges)[0] / len(values) for values in (old, new))
    return float(jensenshannon(p, q, base=2) ** 2)


@settings(max_examples=100)
@given(NUMBERS, NUMBERS)
def test_of_few_values_it_is_exact(old: list[int], new: list[int]) -> None:
    assert number_drift(message(old), message(new)) == pytest.approx(reference(old, new), abs=1e-9)


@settings(max_examples=60)
@given(NUMBERS, NUMBERS, st.integers(2, 9))
def test_it_is_symmetric_and_does_not_know_how_much_data_there_is(old: list[int], new: list[int], times: int) -> None:
    drift = number_drift(message(old), message(new))
    assert 0 <= drift <= 1
    assert number_drift(message(new), message(old)) == pytest.approx(drift, abs=1e-12)
    assert number_drift(message(old), message(new, times)) == pytest.approx(drift, abs=1e-12)
    assert number_drift(message(new), message(new, times)) == pytest.approx(0, abs=1e-12)


def test_of_many_values_it_is_close() -> None:
    draw = np.random.default_rng(0)
    plain = [draw.integers(0, 2000, 20_000), draw.integers(300, 2300, 20_000)]
    old, new = (message(values.tolist()) for values in plain)
    assert len(old.histograms[0].buckets) == QUANTILE_BUCKETS
    assert number_drift(old, new) == pytest.approx(reference(*(v.tolist() for v in plain)), abs=0.01)
    again = message(draw.integers(0, 2000, 20_000).tolist())
    assert number_drift(old, again) < 0.005


def test_numbers_that_share_nothing_differ_wholly() -> None:
    assert number_drift(message([1, 2, 3]), message([4, 5])) == pytest.approx(1)
    assert number_drift(message([7]), message([7, 7])) == 0
    nothing = statistics_pb2.NumericStatistics()
    assert number_drift(nothing, message([1])) == number_drift(message([1]), nothing) == 1
    assert number_drift(nothing, nothing) == 0
