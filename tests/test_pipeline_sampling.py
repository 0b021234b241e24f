"""Splits and samples: exact shares, independence of order, nothing lost in test."""

from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import Split
from pipeline.sampling import DROPPED, assign_parts, hash_texts, mix_hashes, sample_negatives, split_boundaries

Row = tuple[Any, ...]
HOUR = 3600


def test_hashes_depend_on_value_and_seed_only() -> None:
    texts = pa.array(["a", "b", "a", "ü", ""])
    hashes = hash_texts(texts, 1)
    assert hashes.dtype == np.uint64
    assert hashes[0] == hashes[2]
    assert len(set(hashes.tolist())) == 4
    np.testing.assert_array_equal(hash_texts(texts.take(pa.array([3, 1])), 1), hashes[[3, 1]])
    assert (hash_texts(texts, 2) != hashes).all()
    assert hash_texts(pa.array([], pa.string()), 1).tolist() == []


def test_purposes_and_pairs_are_independent() -> None:
    hashes = hash_texts(pa.array([str(i) for i in range(20_000)]), 5)
    shares = [mix_hashes(hashes, purpose) / 2.0**64 for purpose in ("split", "sample", "order")]
    for share in shares:
        assert share.mean() == pytest.approx(0.5, abs=0.01)
    assert np.abs(np.corrcoef(shares) - np.eye(3)).max() < 0.03
    assert (mix_hashes(hashes[:1], "sample", hashes[1]) != mix_hashes(hashes[1:2], "sample", hashes[0])).all()


def test_boundaries_are_the_first_full_hours_that_leave_enough_before() -> None:
    split = Split(train=0.8, validation=0.1)
    assert split_boundaries(dict.fromkeys(range(10), 1), split) == (8 * HOUR, 9 * HOUR)
    assert split_boundaries({5: 70, 9: 20, 12: 10}, split) == (10 * HOUR, 10 * HOUR)
    assert split_boundaries({}, split) == (0, 0)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.integers(0, 50), st.integers(1, 9), min_size=1), st.sampled_from([0.0, 0.1, 0.3]))
def test_the_training_part_is_the_least_that_is_enough(hours: dict[int, int], validation: float) -> None:
    validation_start, test_start = split_boundaries(hours, Split(train=0.6, validation=validation))
    total = sum(hours.values())
    before = sum(n for hour, n in hours.items() if hour < validation_start // HOUR)
    one_hour_less = sum(n for hour, n in hours.items() if hour < validation_start // HOUR - 1)
    assert before >= 0.6 * total - 1e-6 > one_hour_less - 1e-3
    assert test_start >= validation_start


def test_parts_by_time_and_new_items() -> None:
    parts = assign_parts(
        Split(by="time"),
        time=np.array([9, 10, 19, 20, 20, 5]),
        boundaries=(10, 20),
        user_hash=np.zeros(6, np.uint64),
        new_item=np.array([False, False, False, False, True, True]),
    )
    assert parts.tolist() == [0, 1, 1, 2, 3, DROPPED]


def test_parts_by_user_have_the_asked_shares_and_keep_a_user_together() -> None:
    hashes = hash_texts(pa.array([str(i) for i in range(20_000)]), 5)
    split = Split(by="user", train=0.7, validation=0.2)

    def parts(user_hash: np.ndarray) -> np.ndarray:
        zeros = np.zeros(len(user_hash))
        return assign_parts(split, time=zeros, boundaries=(0, 0), user_hash=user_hash, new_item=zeros.astype(bool))

    assert np.bincount(parts(hashes)) / 20_000 == pytest.approx([0.7, 0.2, 0.1], abs=0.015)
    np.testing.assert_array_equal(parts(hashes[::-1]), parts(hashes)[::-1])


CANDIDATES = st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.integers(0, 2**63 - 1)), min_size=1, max_size=40)


@settings(max_examples=100, deadline=None)
@given(CANDIDATES, st.sampled_from([0.5, 1.0, 1.5, 3.0]), st.randoms())
def test_sampling_keeps_positives_and_the_smallest_keys_in_any_order(
    candidates: list[Row], ratio: float, random: Random
) -> None:
    def keep(rows: list[Row]) -> set[Row]:
        session, positive, key = (np.array(column) for column in zip(*rows, strict=True))
        mask = sample_negatives(session, positive.astype(bool), key.astype(np.uint64), ratio)
        return {row for row, kept in zip(rows, mask, strict=True) if kept}

    candidates = list({row[2]: row for row in candidates}.values())  # keys are distinct
    expected: set[Row] = set()
    for session in range(5):
        mine = [row for row in candidates if row[0] == session]
        positives = [row for row in mine if row[1]]
        negatives = sorted((row for row in mine if not row[1]), key=lambda row: row[2])
        expected |= {*positives, *negatives[: int(ratio * len(positives) + 0.5)]}
    assert keep(candidates) == expected
    random.shuffle(candidates)
    assert keep(candidates) == expected
