"""Which items one user bought together, and how often as of a time.

A purchase makes a pair event, at its own time, with each of the user's previous distinct
items (at most `MOST_PREVIOUS`, within the purchase window). Both directions count, so an
event is stored once, the lower item row first.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from pipeline.ranges import expand_ranges
from pipeline.timeline import Timeline

MOST_PREVIOUS = 20
PAIRS_SCHEMA = pa.schema([("first", pa.int32()), ("second", pa.int32()), ("time", pa.int64())])
#: (candidate, behaviour) combinations that are looked up at once.
_LOOKUPS_AT_ONCE = 4_000_000


def pair_purchases(user: np.ndarray, item: np.ndarray, time: np.ndarray, window: int) -> pa.RecordBatch:
    """Pair events of users' purchases, in `PAIRS_SCHEMA`.

    A user's purchases follow each other by time, then item. Step n takes the n-th purchase
    of every user at once and keeps each user's latest distinct items, most recent first.

    Args:
        user, item, time: one entry a purchase; users and items are integers from 0.
        window: seconds; a previous item bought longer ago makes no pair.
    """
    order = np.lexsort((item, time, user))
    user, item, time = user[order], item[order], time[order]
    _, begins, lengths = np.unique(user, return_index=True, return_counts=True)
    longest_first = np.argsort(-lengths, kind="stable")
    begins, lengths = begins[longest_first], lengths[longest_first]
    # One more than is used: the bought item itself may be among them.
    recent = np.full((len(begins), MOST_PREVIOUS + 1), -1, np.int64)
    recent_time = np.zeros_like(recent)
    parts = [(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int64))]
    for step in range(int(lengths[0]) if len(lengths) else 0):
        active = int(np.searchsorted(-lengths, -step, side="left"))
        bought, when = item[begins[:active] + step], time[begins[:active] + step]
        known, known_time = recent[:active], recent_time[:active]
        other = (known >= 0) & (known != bought[:, None])
        other &= np.cumsum(other, axis=1) <= MOST_PREVIOUS
        row, place = np.nonzero(other & (known_time >= (when - window)[:, None]))
        parts.append((bought[row], known[row, place], when[row]))
        # The bought item moves to the front; those before its old place move back by one.
        same = known == bought[:, None]
        old_place = np.where(same.any(axis=1), same.argmax(axis=1), MOST_PREVIOUS)
        moves = np.arange(1, MOST_PREVIOUS + 1) <= old_place[:, None]
        known[:, 1:] = np.where(moves, known[:, :-1], known[:, 1:])
        known_time[:, 1:] = np.where(moves, known_time[:, :-1], known_time[:, 1:])
        known[:, 0], known_time[:, 0] = bought, when
    one, two, when = (np.concatenate(column) for column in zip(*parts, strict=True))
    columns = [np.minimum(one, two), np.maximum(one, two), when]
    return pa.RecordBatch.from_arrays(
        [pa.array(c, f.type) for c, f in zip(columns, PAIRS_SCHEMA, strict=True)], schema=PAIRS_SCHEMA
    )


class CoPurchases:
    """All pair events, sorted once.

    Args:
        pairs: events in `PAIRS_SCHEMA`, in any order.
        items: how many items there are.
    """

    def __init__(self, pairs: pa.RecordBatch, items: int) -> None:
        first, second, time = (pairs.column(name).to_numpy().astype(np.int64) for name in PAIRS_SCHEMA.names)
        self._items = max(items, 1)
        self._keys, number = np.unique(first * self._items + second, return_inverse=True)
        self._timeline, _ = Timeline.build(number, time)
        # Most combinations were never bought together. A bitmap of hashes rules most of them
        # out without a search; it has at least 8 places a pair.
        self._bits = min(max(16, int(8 * len(self._keys)).bit_length()), 27)
        self._maybe = np.zeros(2**self._bits, bool)
        self._maybe[self._hash(self._keys)] = True

    def bought_with(
        self,
        candidate: np.ndarray,
        session: np.ndarray,
        time: np.ndarray,
        behavior: np.ndarray,
        behavior_session: np.ndarray,
    ) -> np.ndarray:
        """How often each candidate was bought together with its session's behaviours.

            sum over the distinct behaviour items b != candidate of pair events (b, candidate) before time

        Args:
            candidate: item rows, `[C]`.
            session: of each candidate, from 0, `[C]`.
            time: of each candidate's session, `[C]`.
            behavior: item rows of all sessions, repeated ones allowed.
            behavior_session: of each behaviour.

        Returns:
            float32 `[C]`.
        """
        counts = np.zeros(len(candidate), np.float32)
        if not len(self._keys):
            return counts
        distinct = np.unique(behavior_session.astype(np.int64) * self._items + behavior)
        owner, item = distinct // self._items, distinct % self._items
        start = np.searchsorted(owner, session)
        length = np.searchsorted(owner, session, side="right") - start
        blocks = np.flatnonzero(np.diff(np.cumsum(length) // _LOOKUPS_AT_ONCE, prepend=0)).tolist()
        for begin, end in zip([0, *blocks], [*blocks, len(candidate)], strict=True):
            which, behavior_row = expand_ranges(start[begin:end], length[begin:end])
            counts[begin:end] = self._lookups(
                candidate[begin:end][which], item[behavior_row], time[begin:end][which], which, end - begin
            )
        return counts

    def _lookups(
        self, one: np.ndarray, two: np.ndarray, time: np.ndarray, owner: np.ndarray, owners: int
    ) -> np.ndarray:
        keys = np.minimum(one, two).astype(np.int64) * self._items + np.maximum(one, two)
        likely = np.flatnonzero(self._maybe[self._hash(keys)])
        likely = likely[np.argsort(keys[likely])]  # rising keys make the searches several times faster
        number = np.searchsorted(self._keys, keys[likely])
        # An item with itself is no pair, so it is never among the keys.
        found = self._keys[np.minimum(number, len(self._keys) - 1)] == keys[likely]
        likely, number = likely[found], number[found]
        before = self._timeline.position(number, time[likely]) - self._timeline.first(number)
        return np.bincount(owner[likely], weights=before, minlength=owners)

    def totals(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Item, other item and how often they were bought together at all; both directions, sorted."""
        count = np.diff(self._timeline.first(np.arange(len(self._keys) + 1)))
        first, second = self._keys // self._items, self._keys % self._items
        item, other = np.concatenate([first, second]), np.concatenate([second, first])
        order = np.lexsort((other, item))
        return item[order], other[order], np.concatenate([count, count])[order]

    def _hash(self, keys: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            return (keys.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(64 - self._bits)
