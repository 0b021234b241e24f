"""As-of numbers and co-purchases against obvious references."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.as_of import EntityHistory, entity_features
from pipeline.co_purchases import MOST_PREVIOUS, CoPurchases, pair_purchases
from pipeline.features import AsOf

Row = tuple[Any, ...]
DAY = 86_400
FEATURES = {
    "all": AsOf(entity="brand", measure="count"),
    "purchases": AsOf(entity="brand", measure="count", action="purchase"),
    "clicks_2d": AsOf(entity="brand", measure="count", action="click", window_days=2),
    "age": AsOf(entity="brand", measure="age_days"),
}
EVENTS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1), st.integers(0, 16)), max_size=40)
REQUESTS = st.lists(st.tuples(st.integers(-1, 3), st.integers(0, 20)), min_size=1, max_size=10)


def reference(name: str, events: list[Row], code: int, now: int) -> float:
    """Times in half days."""
    before = [(action, time) for entity, action, time in events if entity == code and time < now]
    if name == "age":
        return (now - min(time for _, time in before)) / 2 if before else math.nan
    if name == "purchases":
        return sum(action == 1 for action, _ in before)
    if name == "clicks_2d":
        return sum(action == 0 and time >= now - 4 for action, time in before)
    return len(before)


@settings(max_examples=150, deadline=None)
@given(EVENTS, REQUESTS)
def test_numbers_equal_the_reference(events: list[Row], requests: list[Row]) -> None:
    code, action, time = np.array(events, np.int64).reshape(-1, 3).T
    wanted, now = np.array(requests, np.int64).T
    numbers = EntityHistory(code, action, time * DAY // 2).numbers(FEATURES, wanted, now * DAY // 2)
    for name, values in numbers.items():
        assert values.dtype == np.float32
        np.testing.assert_array_equal(values, [reference(name, events, *request) for request in requests], name)


@settings(max_examples=80, deadline=None)
@given(EVENTS, REQUESTS)
def test_later_events_change_nothing(events: list[Row], requests: list[Row]) -> None:
    wanted = np.array([code for code, _ in requests])
    latest = max(time for _, time in requests)

    def numbers(some: list[Row]) -> dict[str, np.ndarray]:
        code, action, time = np.array(some, np.int64).reshape(-1, 3).T
        return EntityHistory(code, action, time * DAY).numbers(FEATURES, wanted, np.full(len(wanted), latest * DAY))

    past = [event for event in events if event[2] < latest]
    for name, values in numbers(events).items():
        np.testing.assert_array_equal(values, numbers(past)[name], name)


def test_entity_features_leave_out_co_purchases() -> None:
    declared = FEATURES | {"with": AsOf(entity="item_id", measure="bought_with")}
    assert entity_features(declared) == {"brand": FEATURES}


PURCHASES = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 5), st.integers(0, 12)), max_size=30)


def pair_reference(purchases: list[Row], window: int, most: int = MOST_PREVIOUS) -> list[Row]:
    pairs: list[Row] = []
    done: list[Row] = []
    for user, item, time in sorted(purchases, key=lambda p: (p[0], p[2], p[1])):
        previous = [(other, other_time) for other_user, other, other_time in done if other_user == user][-most:]
        for other, other_time in dict(previous).items():  # of an item the latest
            if other != item and other_time >= time - window:
                pairs += [(item, other, time), (other, item, time)]
        done.append((user, item, time))
    return sorted(pairs)


def make_pairs(purchases: list[Row], window: int) -> list[Row]:
    user, item, time = np.array(purchases, np.int64).reshape(-1, 3).T
    pairs = pair_purchases(user, item, time, window)
    return sorted(tuple(row.values()) for row in pairs.to_pylist())


@settings(max_examples=150, deadline=None)
@given(PURCHASES, st.integers(0, 13))
def test_pairs_equal_the_reference(purchases: list[Row], window: int) -> None:
    assert make_pairs(purchases, window) == pair_reference(purchases, window)


def test_a_purchase_pairs_with_the_items_of_at_most_so_many_previous_purchases() -> None:
    generator = np.random.default_rng(3)
    for items in (3, 40, 1000):
        purchases = [(0, int(item), time) for time, item in enumerate(generator.integers(0, items, 200))]
        assert make_pairs(purchases, 1000) == pair_reference(purchases, 1000)
        latest = [pair for pair in make_pairs(purchases, 1000) if pair[2] == 199]
        assert len(latest) <= 2 * min(items - 1, MOST_PREVIOUS)
    assert len(latest) > MOST_PREVIOUS


@settings(max_examples=100, deadline=None)
@given(
    PURCHASES,
    st.lists(
        st.tuples(
            st.integers(0, 14),
            st.lists(st.integers(0, 5), max_size=4),
            st.lists(st.integers(0, 5), min_size=1, max_size=3),
        ),
        min_size=1,
        max_size=5,
    ),
)
def test_bought_with_equals_the_reference(purchases: list[Row], sessions: list[Row]) -> None:
    user, item, time = np.array(purchases, np.int64).reshape(-1, 3).T
    co_purchases = CoPurchases(pair_purchases(user, item, time, 13), items=6)
    rows = [(c, now, sorted(set(behaviors))) for now, behaviors, candidates in sessions for c in candidates]
    values = co_purchases.bought_with(
        np.array([candidate for candidate, _, _ in rows]),
        np.array([now for _, now, _ in rows]),
        np.cumsum([0, *(len(behaviors) for _, _, behaviors in rows)]),
        np.array([b for _, _, behaviors in rows for b in behaviors], np.int64),
    )
    pairs = pair_reference(purchases, 13)
    assert values.tolist() == [
        sum(
            time < now and (one, two) == (candidate, behavior)
            for behavior in set(behaviors)
            for one, two, time in pairs
        )
        for now, behaviors, candidates in sessions
        for candidate in candidates
    ]


def test_totals_count_both_directions_sorted() -> None:
    pairs = pair_purchases(np.zeros(4, np.int64), np.array([2, 0, 2, 1]), np.array([1, 2, 3, 4]), 100)
    item, other, count = CoPurchases(pairs, items=3).totals()
    # 2-0 at time 2, 0-2 at 3, then 1 with 2 and 0 at 4
    assert list(zip(item, other, count, strict=True)) == [
        (0, 1, 1), (0, 2, 2), (1, 0, 1), (1, 2, 1), (2, 0, 2), (2, 1, 1),
    ]  # fmt: skip


def test_a_user_with_very_many_purchases_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.co_purchases._LOOKUPS_AT_ONCE", 7)
    times = np.arange(3000)
    pairs = pair_purchases(np.zeros(3000, np.int64), times % 30, times, 10**6)
    assert pairs.num_rows <= 2 * MOST_PREVIOUS * 3000
    candidates = np.arange(30)
    values = CoPurchases(pairs, items=30).bought_with(candidates, np.full(30, 3000), np.arange(31), np.full(30, 4))
    # every purchase pairs with the 20 items before it in the cycle
    bought = [(pair["item"], pair["other"]) for pair in pairs.to_pylist()]
    expected = [bought.count((item, 4)) for item in range(30)]
    assert sum(expected) > 0
    assert values.tolist() == expected
