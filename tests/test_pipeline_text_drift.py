"""Drift of texts against what counting the values says."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow_metadata.proto.v0 import statistics_pb2

from pipeline.validation.text_drift import TextShares

TEXTS = st.lists(st.sampled_from("abcdefg"), max_size=40)


def message(values: dict[str, int], rest: int = 0) -> statistics_pb2.StringStatistics:
    statistics = statistics_pb2.StringStatistics()
    for value, count in values.items():
        statistics.rank_histogram.buckets.add(label=value, sample_count=count)
    if rest:
        statistics.rank_histogram.buckets.add(sample_count=rest)
    return statistics


def shares(values: list[str], times: int = 1) -> TextShares:
    return TextShares.of(message({value: times * count for value, count in Counter(values).items()}))


@settings(max_examples=100)
@given(TEXTS, TEXTS)
def test_drift_is_that_of_the_plain_values(old: list[str], new: list[str]) -> None:
    def share(value: str, values: list[str]) -> float:
        return values.count(value) / len(values) if values else 0.0

    changes = {value: abs(share(value, old) - share(value, new)) for value in {*old, *new}}
    change, value = shares(new).largest_change(shares(old))
    assert change == pytest.approx(max(changes.values(), default=0.0))
    assert changes.get(value, 0.0) == pytest.approx(change)
    found, values = shares(new).surely_not_in(shares(old))
    assert set(values) == set(new) - set(old)
    assert found == pytest.approx(sum(share(v, new) for v in set(new) - set(old)))


@settings(max_examples=100)
@given(TEXTS, TEXTS, st.integers(2, 9))
def test_drift_is_symmetric_and_does_not_know_how_much_data_there_is(
    old: list[str], new: list[str], times: int
) -> None:
    assert shares(new).largest_change(shares(old)) == shares(old).largest_change(shares(new))
    assert shares(new, times).largest_change(shares(old)) == shares(new).largest_change(shares(old))
    assert shares(new, times).surely_not_in(shares(old)) == shares(new).surely_not_in(shares(old))
    assert shares(new).largest_change(shares(new, times))[0] == 0
    assert shares(new).surely_not_in(shares(new, times)) == (0, [])


def test_a_value_that_may_be_among_those_not_named_is_not_surely_new() -> None:
    """Of 100 old values 10 are not named, and none of them has more than the 5 of `b`."""
    old = TextShares.of(message({"a": 85, "b": 5}, rest=10))
    assert old.unnamed == 0.05
    new = TextShares.of(message({"a": 70, "c": 20, "d": 5, "b": 5}))
    share, values = new.surely_not_in(old)
    assert share == pytest.approx(0.20 - 0.05)
    assert values == ["c"]
    assert old.surely_not_in(new) == (0, [])
