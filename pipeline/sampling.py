"""Which sessions train and which shown items stay: decided by keyed hashes of the values themselves.

A hash does not depend on the runner, the number of workers or the order of the files, so
the same log and seed always give the same parts and the same samples.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa

from pipeline.config import Split
from pipeline.prepared_data import PARTS
from pipeline.ranges import offsets_of

#: Part of a session that is left out: `new_item` outside of the test period.
DROPPED = -1
_HOUR = 3600
_TRAIN, _VALIDATION, _TEST, _NEW_ITEMS = (PARTS.index(part) for part in ("train", "validation", "test", "new_items"))

#: draw: items that the log did not show; sample: shown items that train.
Purpose = Literal["shard", "split", "draw", "sample", "order"]


def hash_texts(values: pa.Array, seed: int) -> np.ndarray:
    """Keyed 64-bit hashes of texts."""
    encoded = values.dictionary_encode()
    texts = np.asarray(encoded.dictionary.to_pylist(), dtype=object)
    hashes = pd.util.hash_array(texts, hash_key=f"{seed % 2**64:016x}", categorize=False)
    return hashes[encoded.indices.to_numpy()]


def mix_hashes(hashes: np.ndarray, purpose: Purpose, other: np.ndarray | int = 0) -> np.ndarray:
    """Hashes for one purpose, of one value or of a pair, independent of those for another purpose.

    The mixing function is SplitMix64's (Steele, Lea and Flood 2014).
    """
    with np.errstate(over="ignore"):
        salt = np.uint64(sum(ord(letter) << (8 * place) for place, letter in enumerate(purpose)))
        mixed = _finish(hashes + salt * np.uint64(0x9E3779B97F4A7C15))
        return _finish(mixed + np.asarray(other, np.uint64) * np.uint64(0xD1B54A32D192ED03))


def _finish(mixed: np.ndarray) -> np.ndarray:
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def split_boundaries(sessions_by_hour: Mapping[int, int], split: Split) -> tuple[int, int]:
    """Times at which validation and test begin, in seconds: the first full hours that leave enough before.

    Args:
        sessions_by_hour: how many sessions each hour since 1970 has.
    """
    hours = sorted(sessions_by_hour)
    if not hours:
        return 0, 0
    until = np.cumsum([sessions_by_hour[hour] for hour in hours])

    def boundary(share: float) -> int:
        # The subtraction undoes rounding such as 0.8 + 0.1 = 0.9000000000000001.
        wanted = math.ceil(share * int(until[-1]) - 1e-6)
        return (hours[int(np.searchsorted(until, wanted))] + 1) * _HOUR

    return boundary(split.train), boundary(split.train + split.validation)


def assign_parts(
    split: Split,
    *,
    time: np.ndarray,
    boundaries: tuple[int, int],
    user_hash: np.ndarray,
    new_item: np.ndarray,
) -> np.ndarray:
    """The part of each session, as its position in `PARTS`, or `DROPPED`.

    Args:
        time: of the session, `[S]`.
        boundaries: see `split_boundaries`; not used when the split is by user.
        user_hash: of the session's user, `[S]`.
        new_item: the bought item had no earlier event, `[S]`.
    """
    if split.by == "time":
        part = np.searchsorted(np.asarray(boundaries), time, side="right")
    else:
        share = mix_hashes(user_hash, "split") / 2.0**64
        part = np.searchsorted(np.asarray([split.train, split.train + split.validation]), share, side="right")
    codes = np.asarray([_TRAIN, _VALIDATION, _TEST], np.int8)[part]
    return np.where(new_item, np.where(codes == _TEST, _NEW_ITEMS, DROPPED), codes).astype(np.int8)


def sample_negatives(
    session: np.ndarray, positive: np.ndarray, key: np.ndarray, negatives_per_positive: float
) -> np.ndarray:
    """Which shown items of training sessions stay: the positives, and so many others a positive.

    The others are those of the smallest key; a half is rounded up. A session without a
    positive keeps nothing.

    Args:
        session: number of the item's session, from 0, `[C]`.
        positive: `[C]`.
        key: a hash, `[C]`.

    Returns:
        A mask `[C]`.
    """
    sessions = int(session.max()) + 1 if len(session) else 0
    positives = np.bincount(session[positive], minlength=sessions)
    quota = np.floor(negatives_per_positive * positives + 0.5).astype(np.int64)
    negatives = np.flatnonzero(~positive)
    order = negatives[np.lexsort((key[negatives], session[negatives]))]
    rank = np.arange(len(order)) - offsets_of(session[order], sessions)[session[order]]
    keep = positive.copy()
    keep[order[rank < quota[session[order]]]] = True
    return keep
