"""The contrastive loss, eq. 10."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from model.contrastive import Contrastive
from model.random_numbers import RandomNumbers
from pipeline.config import Contrastive as Options


def loss(gates: np.ndarray, positives: np.ndarray, users: list[int], **options: Any) -> float:
    layer = Contrastive(Options(**options), RandomNumbers(0))
    return float(layer(tf.constant(gates), tf.constant(positives), tf.constant(users, tf.int64)))


def random_gates(batch: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(batch, 4)).astype(np.float32), rng.normal(size=(batch, 4)).astype(np.float32)


@pytest.mark.parametrize("similarity", ["dot", "cosine"])
@pytest.mark.parametrize("temperature", [1.0, 0.2])
def test_equals_the_formula_where_all_others_are_negatives(similarity: str, temperature: float) -> None:
    gates, positives = random_gates(4)
    g, p = gates.astype(np.float64), positives.astype(np.float64)
    if similarity == "cosine":
        g, p = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (g, p))
    terms = []
    for i in range(4):
        similar = np.exp(g[i] @ p[i] / temperature)
        different = sum(np.exp(g[i] @ g[j] / temperature) for j in range(4) if j != i)
        terms.append(-np.log(similar / (similar + different)))
    options = {"negatives": 3, "similarity": similarity, "temperature": temperature}
    assert loss(gates, positives, [1, 2, 3, 4], **options) == pytest.approx(np.mean(terms), rel=1e-5)


def test_negatives_are_of_other_users_and_fewer_where_the_batch_has_fewer() -> None:
    gates = np.zeros((5, 4), np.float32)  # each negative then adds one to the denominator
    assert loss(gates, gates, [1, 2, 3, 4, 5], negatives=3) == pytest.approx(np.log(4), rel=1e-6)
    assert loss(gates, gates, [1, 2, 3, 4, 5], negatives=9) == pytest.approx(np.log(5), rel=1e-6)
    by_user = (3 * np.log(1 + 2) + 2 * np.log(1 + 3)) / 5
    assert loss(gates, gates, [1, 1, 1, 2, 2], negatives=3) == pytest.approx(by_user, rel=1e-6)
    assert loss(gates, gates, [7, 7, 7, 7, 7], negatives=3) == pytest.approx(0.0, abs=1e-7)
    assert loss(gates[:1], gates[:1], [7], negatives=3) == pytest.approx(0.0, abs=1e-7)


def test_negatives_are_drawn_at_random() -> None:
    layer = Contrastive(Options(negatives=1), RandomNumbers(0))
    gates, positives = (tf.constant(x) for x in random_gates(40))
    assert len({float(layer(gates, positives, tf.range(40, dtype=tf.int64))) for _ in range(5)}) > 1


@settings(max_examples=50)
@given(
    users=st.lists(st.integers(0, 4), min_size=1, max_size=24),
    negatives=st.integers(1, 12),
)
def test_negatives_are_never_of_the_same_user(users: list[int], negatives: int) -> None:
    """Gates of different users share no axis, those of one user are long: one of these would be seen."""
    gates = 5 * np.eye(5, dtype=np.float32)[users]
    users_of_rows = np.array(users)
    others = (users_of_rows[:, None] != users_of_rows).sum(axis=1)
    # Each negative adds exp(0) to the denominator, and one of the same user would add exp(25).
    most, drawn_at_most = np.exp(-25.0), np.minimum(others, negatives)
    value = loss(gates, gates, users, negatives=negatives)
    assert value <= np.log1p(most * drawn_at_most).mean() + 1e-6
    zeros = np.zeros_like(gates)  # now each negative adds as much as the positive
    count = loss(zeros, zeros, users, negatives=negatives)
    if len(users) <= negatives + 8:  # as many sessions are drawn, so that none of another user is missed
        assert count == pytest.approx(np.log(1 + drawn_at_most).mean(), rel=1e-5, abs=1e-6)
    else:
        assert count <= np.log(1 + drawn_at_most).mean() + 1e-6


@pytest.mark.parametrize("similarity", ["dot", "cosine"])
@pytest.mark.parametrize("scale", [0.0, 1e-20, 1e3, 1e4, 1e15])
@pytest.mark.parametrize("users", [[1, 2, 3, 4], [1, 1, 1, 1]])
def test_loss_and_gradient_are_finite_for_extreme_gates(scale: float, users: list[int], similarity: Any) -> None:
    layer = Contrastive(Options(similarity=similarity), RandomNumbers(0))
    gates, positives = (tf.constant(scale * x) for x in random_gates(4))
    with tf.GradientTape() as tape:
        tape.watch((gates, positives))
        value = layer(gates, positives, tf.constant(users, tf.int64))
    assert np.isfinite(value)
    for gradient in tape.gradient(value, (gates, positives)):
        assert np.isfinite(tf.convert_to_tensor(gradient)).all()
