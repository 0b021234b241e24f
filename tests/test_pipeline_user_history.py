"""Behaviours against an obvious reference."""

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import Behaviors
from pipeline.user_history import CLICK, PURCHASE, UserHistory

DAY = 86_400
Row = tuple[Any, ...]
# Times in half days, so that ties and window edges are frequent.
EVENTS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 4), st.sampled_from([CLICK, PURCHASE]), st.integers(0, 20)), max_size=40
)
SESSIONS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 24)), max_size=8)


def look_up(events: list[Row], sessions: list[Row], limits: Behaviors) -> list[list[Row]]:
    user, item, action, time = np.array(events, np.int64).reshape(-1, 4).T
    session_user, session_time = np.array(sessions, np.int64).reshape(-1, 2).T
    history = UserHistory(user, item.astype(np.int32), action.astype(np.int8), time * DAY // 2, limits)
    lists = history.behaviors(session_user, session_time * DAY // 2)
    rows = list(zip(lists.item.tolist(), lists.action.tolist(), (lists.time * 2 // DAY).tolist(), strict=True))
    return [rows[a:b] for a, b in zip(lists.offsets[:-1], lists.offsets[1:], strict=True)]


def reference(events: list[Row], sessions: list[Row], limits: Behaviors) -> list[list[Row]]:
    lists: list[list[Row]] = []
    for session_user, now in sessions:
        days = {CLICK: limits.click_days, PURCHASE: limits.purchase_days}
        found = [
            (item, action, time)
            for user, item, action, time in events
            if user == session_user and now - 2 * days[action] <= time < now
        ]
        found.sort(key=lambda event: (-event[2], -event[1], event[0]))
        lists.append(found[: limits.max_behaviors])
    return lists


@settings(max_examples=150, deadline=None)
@given(EVENTS, SESSIONS, st.integers(0, 8), st.integers(0, 12), st.integers(1, 6))
def test_behaviors_equal_the_reference(
    events: list[Row], sessions: list[Row], click_days: int, purchase_days: int, longest: int
) -> None:
    limits = Behaviors(click_days=click_days, purchase_days=purchase_days, max_behaviors=longest)
    assert look_up(events, sessions, limits) == reference(events, sessions, limits)


@settings(max_examples=50, deadline=None)
@given(EVENTS, SESSIONS, st.integers(0, 10))
def test_no_behavior_is_at_or_after_the_session(events: list[Row], sessions: list[Row], shift: int) -> None:
    for (_, now), behaviors in zip(sessions, look_up(events, sessions, Behaviors(click_days=shift)), strict=True):
        assert all(time < now for _, _, time in behaviors)


def test_a_user_with_very_many_events_gives_the_newest() -> None:
    times = np.arange(100_000)
    history = UserHistory(np.zeros(100_000, np.int64), times % 7, np.zeros(100_000, np.int8), times, Behaviors())
    lists = history.behaviors(np.zeros(3, np.int64), np.array([0, 10, 99_999]))
    assert lists.offsets.tolist() == [0, 0, 10, 60]
    assert lists.time[10:].tolist() == list(range(99_998, 99_948, -1))
