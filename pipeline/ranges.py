"""Lists of lists in flat arrays."""

from __future__ import annotations

import numpy as np


def expand_ranges(start: np.ndarray, length: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Writes out many ranges `[start, start + length)` one after the other.

    Returns:
        For each element which range it belongs to, and its value.

    Example:
        expand_ranges(np.array([5, 0]), np.array([2, 1]))  # [0, 0, 1], [5, 6, 0]
    """
    owner = np.repeat(np.arange(len(length)), length)
    ends = np.cumsum(length)
    within = np.arange(len(owner)) - np.repeat(ends - length, length)
    return owner, start[owner] + within


def offsets_of(owner: np.ndarray, owners: int) -> np.ndarray:
    """Offsets `[owners + 1]` of lists whose elements carry their owner's number, in rising order."""
    return np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=owners))])
