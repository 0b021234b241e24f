"""Which items one user bought together, and how often as of a time.

A purchase makes a pair event, at its own time, with each distinct other item among the user's
previous purchases: at most `MOST_PREVIOUS` of them, within the purchase window. Both directions
count, so an event is there twice, once under each of its items.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from pipeline.ranges import expand_ranges
from pipeline.timeline import Timeline

MOST_PREVIOUS = 20
PAIRS_SCHEMA = pa.schema([("item", pa.int32()), ("other", pa.int32()), ("time", pa.int64())])
#: (candidate, behaviour) combinations that are looked up at once.
_LOOKUPS_AT_ONCE = 4_000_000


def pair_purchases(user: np.ndarray, item: np.ndarray, time: np.ndarray, window: int) -> pa.RecordBatch:
    """Pair events of users' purchases, in `PAIRS_SCHEMA`, both directions.

    A user's purchases follow each other by time, then item. Each lag looks at all purchases at
    once, so a user with very many purchases costs no more a purchase than others.

    Args:
        user, item, time: one entry a purchase; users and items are integers from 0.
        window: seconds; a previous item bought longer ago makes no pair.
    """
    order = np.lexsort((item, time, user))
    user, item, time = user[order], item[order], time[order]
    again = _next_of_same_item(user, item)
    parts: list[tuple[np.ndarray, ...]] = [(np.empty(0, np.int64),) * 3]
    for lag in range(1, min(MOST_PREVIOUS, len(user) - 1) + 1):
        # The earlier item counts by its latest purchase: one that comes again later is left out.
        earlier = np.flatnonzero((user[lag:] == user[:-lag]) & (time[:-lag] >= time[lag:] - window))
        earlier = earlier[again[earlier] > earlier + lag]
        later = earlier + lag
        parts.append((item[later], item[earlier], time[later]))
    bought, other, when = (np.concatenate(column) for column in zip(*parts, strict=True))
    columns = [np.concatenate([bought, other]), np.concatenate([other, bought]), np.concatenate([when, when])]
    return pa.RecordBatch.from_arrays(
        [pa.array(c, f.type) for c, f in zip(columns, PAIRS_SCHEMA, strict=True)], schema=PAIRS_SCHEMA
    )


def _next_of_same_item(user: np.ndarray, item: np.ndarray) -> np.ndarray:
    """For each purchase the place of the same user's next one of the same item; past the end where there is none."""
    order = np.lexsort((item, user))  # stable: places rise within a user's item
    same = (user[order][1:] == user[order][:-1]) & (item[order][1:] == item[order][:-1])
    following = np.full(len(user), len(user), np.int64)
    following[order[:-1][same]] = order[1:][same]
    return following


class CoPurchases:
    """Pair events of some items, sorted once.

    Args:
        pairs: all events of these items, in `PAIRS_SCHEMA`, in any order.
        items: how many items there are in all.
    """

    def __init__(self, pairs: pa.RecordBatch, items: int) -> None:
        item, other, time = (pairs.column(name).to_numpy() for name in PAIRS_SCHEMA.names)
        self._items = max(items, 1)
        self._keys, number = np.unique(item.astype(np.int64) * self._items + other, return_inverse=True)
        self._timeline, _ = Timeline.build(number, time)
        # Most combinations were never bought together. A bitmap of hashes rules most of them
        # out without a search; it has at least 8 places a pair.
        self._bits = min(max(16, int(8 * len(self._keys)).bit_length()), 27)
        self._maybe = np.zeros(2**self._bits, bool)
        self._maybe[self._hash(self._keys)] = True

    def bought_with(
        self, candidate: np.ndarray, time: np.ndarray, offsets: np.ndarray, behavior: np.ndarray
    ) -> np.ndarray:
        """How often each candidate was bought together with its session's behaviours.

            sum over the behaviour items b != candidate of pair events (candidate, b) before time

        Args:
            candidate: item rows, `[C]`, of the items that the pair events are of.
            time: of each candidate's session, `[C]`.
            offsets: `[C + 1]`; candidate c has the behaviours `[offsets[c], offsets[c + 1])`.
            behavior: item rows, distinct within a candidate.

        Returns:
            float32 `[C]`.
        """
        counts = np.zeros(len(candidate), np.float32)
        if not len(self._keys):
            return counts
        blocks = np.flatnonzero(np.diff((offsets[1:] - offsets[0]) // _LOOKUPS_AT_ONCE, prepend=0)).tolist()
        for begin, end in zip([0, *blocks], [*blocks, len(candidate)], strict=True):
            which, row = expand_ranges(offsets[begin:end], np.diff(offsets[begin : end + 1]))
            counts[begin:end] = self._lookups(
                candidate[begin:end][which], behavior[row], time[begin:end][which], which, end - begin
            )
        return counts

    def _lookups(
        self, item: np.ndarray, other: np.ndarray, time: np.ndarray, owner: np.ndarray, owners: int
    ) -> np.ndarray:
        keys = item.astype(np.int64) * self._items + other
        likely = np.flatnonzero(self._maybe[self._hash(keys)])
        likely = likely[np.argsort(keys[likely])]  # rising keys make the searches several times faster
        number = np.searchsorted(self._keys, keys[likely])
        # An item with itself is no pair, so it is never among the keys.
        found = self._keys[np.minimum(number, len(self._keys) - 1)] == keys[likely]
        likely, number = likely[found], number[found]
        before = self._timeline.position(number, time[likely]) - self._timeline.first(number)
        return np.bincount(owner[likely], weights=before, minlength=owners)

    def totals(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Item, other item and how often they were bought together at all; sorted."""
        count = np.diff(self._timeline.first(np.arange(len(self._keys) + 1)))
        return self._keys // self._items, self._keys % self._items, count

    def _hash(self, keys: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            return (keys.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(64 - self._bits)
