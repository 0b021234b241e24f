"""Counting what came before a time, for many groups at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Timeline:
    """Events of groups (users, items), sorted by group and time.

    Group and time are one integer, `group * span + (time - start)`, so that a count for any
    number of (group, time) pairs is one binary search.

    Attributes:
        keys: the sorted integers, one an event.
        start: the earliest time.
        span: more than the seconds between the earliest and the latest time.
    """

    keys: np.ndarray
    start: int
    span: int

    @classmethod
    def build(cls, group: np.ndarray, time: np.ndarray, tie: np.ndarray | None = None) -> tuple[Timeline, np.ndarray]:
        """Sorts events by group, time and, where they are equal, `tie`.

        Args:
            group: integers from 0; small ones, as `group * span` must fit 63 bits.
            time: seconds.

        Returns:
            The timeline, and the events' order in it.
        """
        start = int(time.min()) if len(time) else 0
        span = int(time.max()) - start + 2 if len(time) else 2
        keys = group.astype(np.int64) * span + (time - start)
        order = np.argsort(keys) if tie is None else np.lexsort((tie, keys))
        return cls(keys[order], start, span), order

    def position(self, group: np.ndarray, time: np.ndarray) -> np.ndarray:
        """Where the group's events at `time` or later begin; those before lie strictly left of it.

        A difference of two positions of a group counts its events in `[earlier, later)`. A
        negative group has no events.
        """
        offset = np.clip(np.asarray(time, np.int64) - self.start, 0, self.span - 1)
        return np.searchsorted(self.keys, np.asarray(group, np.int64) * self.span + offset)

    def first(self, group: np.ndarray) -> np.ndarray:
        """Where the group's events begin."""
        return np.searchsorted(self.keys, np.asarray(group, np.int64) * self.span)
