"""A session's behaviours: what its user did strictly before it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.config import Behaviors
from pipeline.ranges import expand_ranges, offsets_of
from pipeline.timeline import Timeline

CLICK, PURCHASE = 0, 1
#: Codes of `action` to the values of the raw log.
ACTIONS = ("click", "purchase")
_SESSIONS_AT_ONCE = 8192
_DAY = 86_400


@dataclass(frozen=True)
class BehaviorLists:
    """Behaviours of S sessions, newest first, flat: session s has `[offsets[s], offsets[s + 1])`."""

    offsets: np.ndarray
    item: np.ndarray
    action: np.ndarray
    time: np.ndarray


class UserHistory:
    """Events of users, sorted once, to look up the behaviours of any session.

    A behaviour is an event with `session time - window <= time < session time`; clicks and
    purchases have windows of their own. At one time purchases come before clicks, then the
    lower item row. A lookup takes at most `max_behaviors` events of each action, so a user
    with very many events costs no more than others.

    Args:
        user, item, action, time: one entry an event; users and items are integers from 0.
        limits: windows, and the length of the lists.
    """

    def __init__(
        self, user: np.ndarray, item: np.ndarray, action: np.ndarray, time: np.ndarray, limits: Behaviors
    ) -> None:
        self._longest = limits.max_behaviors
        self._actions = []
        for code, days in ((PURCHASE, limits.purchase_days), (CLICK, limits.click_days)):
            chosen = np.flatnonzero(action == code)
            # The last of a range are the newest; among equal times the lower item is to be last.
            timeline, order = Timeline.build(user[chosen], time[chosen], tie=-item[chosen])
            self._actions.append((code, round(days * _DAY), timeline, item[chosen][order], time[chosen][order]))

    def behaviors(self, user: np.ndarray, time: np.ndarray) -> BehaviorLists:
        """Behaviours of sessions, given by their users and times `[S]`."""
        blocks = [
            self._block(user[first : first + _SESSIONS_AT_ONCE], time[first : first + _SESSIONS_AT_ONCE])
            for first in range(0, max(len(user), 1), _SESSIONS_AT_ONCE)
        ]
        lengths = np.concatenate([np.diff(block.offsets) for block in blocks])
        return BehaviorLists(
            np.concatenate([[0], np.cumsum(lengths)]),
            *(np.concatenate([getattr(block, name) for block in blocks]) for name in ("item", "action", "time")),
        )

    def _block(self, user: np.ndarray, time: np.ndarray) -> BehaviorLists:
        sessions, items, actions, times = [], [], [], []
        for code, window, timeline, item, event_time in self._actions:
            end = timeline.position(user, time)
            start = np.maximum(timeline.position(user, time - window), end - self._longest)
            session, event = expand_ranges(start, end - start)
            sessions.append(session)
            items.append(item[event])
            times.append(event_time[event])
            actions.append(np.full(len(event), code, np.int8))
        session, item, action, when = (np.concatenate(parts) for parts in (sessions, items, actions, times))
        order = np.lexsort((item, -action, -when, session))
        session = session[order]
        rank = np.arange(len(order)) - offsets_of(session, len(user))[session]
        order, session = order[rank < self._longest], session[rank < self._longest]
        return BehaviorLists(offsets_of(session, len(user)), item[order], action[order], when[order])
