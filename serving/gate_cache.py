"""Gates of sessions that are going on, so that the pages of one session share a gate between calls of a backend."""

from __future__ import annotations

import threading
from typing import NamedTuple

import numpy as np
from cachetools import TTLCache


class Gate(NamedTuple):
    """A session's gate `[K]` and the model version that computed it, whose experts it belongs to."""

    values: np.ndarray
    version: int


class GateCache:
    """The latest gates by session; safe to share between threads.

    A gate is of one query, model and version label: asked with others of the same session, there is
    none. Behaviours may differ a little from call to call (their ages do); a session that shall see
    new ones gets another key.

    Args:
        size: sessions at most; the one that was used least lately goes first.
        seconds: how long a gate stays.
    """

    def __init__(self, size: int = 10_000, seconds: float = 600.0) -> None:
        self._gates: TTLCache[str, tuple[bytes, Gate]] = TTLCache(size, seconds)
        self._lock = threading.Lock()

    def get(self, key: str, query: bytes) -> Gate | None:
        """The gate of a session and this query, if it is there."""
        with self._lock:
            kept = self._gates.get(key)
        return kept[1] if kept and kept[0] == query else None

    def put(self, key: str, query: bytes, gate: Gate) -> None:
        """Keeps a gate."""
        with self._lock:
            self._gates[key] = query, gate

    def __len__(self) -> int:
        with self._lock:
            return len(self._gates)
