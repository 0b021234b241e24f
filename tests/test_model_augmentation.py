"""Other views of a session's behaviours, one property after the other."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from model.augmentation import Augmentation
from model.random_numbers import RandomNumbers
from pipeline.config import Contrastive

KINDS = ("mask", "crop", "reorder")
T = 30
#: Of many sessions: every number of behaviours from none to all places, and again.
COUNTS = np.arange(310) % (T + 1)
REAL = np.arange(T) < COUNTS[:, None]


def layer(*kinds: Any, **options: Any) -> Augmentation:
    return Augmentation(Contrastive(augmentations=kinds, **options), RandomNumbers(0))


def left_out(augmentation: Augmentation, drawn: tf.Tensor | None = None) -> np.ndarray:
    """The masks `[B, T+1]` of all sessions."""
    mask = tf.constant(np.pad(REAL, ((0, 0), (1, 0)), constant_values=True), tf.float32)
    drawn = augmentation.draw(tf.constant(len(COUNTS))) if drawn is None else drawn
    return augmentation.leave_out(mask, drawn).numpy()


def sessions() -> dict[str, tf.Tensor]:
    """Encoded sessions whose ages, logarithms of ages and missing ages tell the place that they are from."""
    place = np.tile(np.arange(T), (len(COUNTS), 1))
    return {
        "behavior_count": tf.constant(COUNTS),
        "behavior_age_days": tf.constant(np.where(REAL, place, -5.0), tf.float32),
        "behavior_age_days/log": tf.constant(np.where(REAL, 100.0 + place, -5.0), tf.float32),
        "behavior_age_days/missing": tf.constant(np.where(REAL, 200.0 + place, -5.0), tf.float32),
        "behavior_item_id": tf.constant(place),
        "behavior_price": tf.constant(place, tf.float32),
        "candidate_item_id": tf.constant(place[:, :3]),
        "query_terms": tf.constant(place[:, :2]),
    }


def reordered(augmentation: Augmentation, drawn: tf.Tensor | None = None) -> np.ndarray:
    """The places that ages are from `[B, T]`, after a look at all that must not have changed."""
    before = sessions()
    drawn = augmentation.draw(tf.constant(len(COUNTS))) if drawn is None else drawn
    after = augmentation.reorder(before, drawn)
    assert after.keys() == before.keys()
    for name in before.keys() - {f"behavior_age_days{part}" for part in ("", "/log", "/missing")}:
        np.testing.assert_array_equal(after[name], before[name], err_msg=f"{name} changed")
    ages = after["behavior_age_days"].numpy()
    for part, offset in (("/log", 100), ("/missing", 200)):
        moved = after[f"behavior_age_days{part}"].numpy()
        np.testing.assert_array_equal(moved[REAL], ages[REAL] + offset, err_msg=f"{part} went elsewhere than its age")
    assert (ages[~REAL] == -5).all(), "padding moved"
    return ages


def share_of(count: Any, share: float) -> int:
    return min(count, max(1, math.ceil(round(share * count, 6))))


@pytest.mark.parametrize("kinds", [("mask",), ("crop",), ("reorder",), ("mask", "crop"), KINDS], ids="+".join)
def test_the_start_behaviour_stays_and_padding_stays_out(kinds: tuple[str, ...]) -> None:
    mask = left_out(layer(*kinds, mask_probability=0.9, crop_share=0.1))
    assert (mask[:, 0] == 1).all()
    assert not mask[:, 1:][~REAL].any()
    assert set(np.unique(mask)) <= {0, 1}


def test_mask_leaves_out_each_behaviour_with_its_probability() -> None:
    kept = left_out(layer("mask", mask_probability=0.25))[:, 1:]
    shares = [kept[:, t][REAL[:, t]].mean() for t in (0, 7, 14)]
    # 4,650 behaviours: one deviation is 0.006, of one place's 150 to 300 it is 0.03.
    assert kept[REAL].mean() == pytest.approx(0.75, abs=0.03)
    np.testing.assert_allclose(shares, 0.75, atol=0.12)
    rows = kept[COUNTS == T]
    assert len(np.unique(rows, axis=0)) == len(rows), "sessions are masked alike"


@pytest.mark.parametrize("share", [0.05, 0.6, 0.8, 1.0])
def test_crop_keeps_one_run_of_neighbours(share: float) -> None:
    kept = left_out(layer("crop", crop_share=share))[:, 1:]
    firsts = set()
    for row, count in zip(kept, COUNTS, strict=True):
        places = np.flatnonzero(row)
        assert len(places) == (share_of(count, share) if count else 0), f"of {count} behaviours"
        if count:
            assert places[-1] - places[0] == len(places) - 1, f"not neighbours: {places}"
            firsts.add((count, places[0]))
    most = T - share_of(T, share)
    starts = {first for count, first in firsts if count == T}
    assert starts <= set(range(most + 1))
    assert len(starts) > 1 or most == 0, "every crop begins at the same place"


@pytest.mark.parametrize("share", [0.6, 1.0])
def test_reorder_permutes_ages_within_one_run_of_neighbours(share: float) -> None:
    ages, changed = reordered(layer("reorder", reorder_share=share)), 0
    for row, count in zip(ages, COUNTS, strict=True):
        assert sorted(row[:count]) == list(range(count)), "an age is lost or doubled"
        moved = np.flatnonzero(row[:count] != np.arange(count))
        if len(moved):
            assert moved[-1] - moved[0] < share_of(count, share), f"ages moved over {moved} of {count}"
            changed += 1
    # A permutation of at least three places is the identity once in six or rarer.
    assert changed > 0.8 * (COUNTS > 4).sum()


def test_reorder_without_missing_ages_or_cross_features() -> None:
    batch = {name: tensor for name, tensor in sessions().items() if "/" not in name}
    after = layer("reorder").reorder(batch, tf.zeros([len(COUNTS), 1], tf.int32))
    assert after.keys() == batch.keys()
    assert (after["behavior_age_days"].numpy() != batch["behavior_age_days"].numpy()).any()


def test_of_several_kinds_each_session_gets_exactly_one() -> None:
    augmentation = layer(*KINDS, mask_probability=0.5, crop_share=0.5, reorder_share=1.0)
    drawn = augmentation.draw(tf.constant(len(COUNTS)))
    assert drawn.shape == (len(COUNTS), 1)
    kind = drawn.numpy()[:, 0]
    shares = np.bincount(kind, minlength=3) / len(kind)
    np.testing.assert_allclose(shares, 1 / 3, atol=0.12)

    mask, ages = left_out(augmentation, drawn)[:, 1:], reordered(augmentation, drawn)
    same_mask = (mask == REAL).all(axis=1)
    same_ages = (np.where(REAL, ages, 0) == np.where(REAL, np.arange(T), 0)).all(axis=1)
    long = COUNTS >= 10  # where a change by chance of nothing has a probability below 0.001
    assert same_ages[kind != 2].all(), "a session that is masked or cropped was reordered too"
    assert same_mask[kind == 2].all(), "a session that is reordered was masked or cropped too"
    assert not same_ages[long & (kind == 2)].any()
    assert not same_mask[long & (kind != 2)].any()
    runs = np.abs(np.diff(np.pad(mask, ((0, 0), (1, 1))))).sum(axis=1) / 2
    assert (runs[long & (kind == 1)] == 1).all(), "a cropped session was masked too"
    assert (runs[long & (kind == 0)] > 1).mean() > 0.9


@pytest.mark.parametrize("kind", KINDS)
def test_a_user_without_behaviours(kind: str) -> None:
    augmentation, drawn = layer(kind), tf.zeros([1, 1], tf.int32)
    np.testing.assert_array_equal(augmentation.leave_out(tf.constant([[1.0, 0]]), drawn), [[1, 0]])
    if kind == "reorder":
        batch = {"behavior_count": tf.constant([0], tf.int64), "behavior_age_days": tf.constant([[7.0]])}
        np.testing.assert_array_equal(augmentation.reorder(batch, drawn)["behavior_age_days"], [[7]])
    assert augmentation.reorders == (kind == "reorder")
