"""The contrastive loss, eq. 10."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from model.contrastive import Contrastive
from pipeline.config import Contrastive as Options


def loss(gates: np.ndarray, positives: np.ndarray, users: list[int], **options: Any) -> float:
    layer = Contrastive(Options(**options))
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
    gates, positives = random_gates(40)
    assert len({loss(gates, positives, list(range(40)), negatives=1) for _ in range(5)}) > 1


@pytest.mark.parametrize("scale", [0.0, 1e4, 1e15])
@pytest.mark.parametrize("users", [[1, 2, 3, 4], [1, 1, 1, 1]])
def test_loss_and_gradient_are_finite_for_extreme_gates(scale: float, users: list[int]) -> None:
    layer = Contrastive(Options())
    gates, positives = (tf.constant(scale * x) for x in random_gates(4))
    with tf.GradientTape() as tape:
        tape.watch(gates)
        value = layer(gates, positives, tf.constant(users, tf.int64))
    assert np.isfinite(value)
    assert np.isfinite(tf.convert_to_tensor(tape.gradient(value, gates))).all()
