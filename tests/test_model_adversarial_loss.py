"""The adversarial term, against a slow loop."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from model.adversarial_loss import adversarial_loss, draw_disagreeing
from model.random_numbers import RandomNumbers

B, N, K = 5, 4, 6
COUNTS = np.array([4, 1, 3, 2, 4])
REAL = np.arange(N) < COUNTS[:, None]


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 2, shape).astype(np.float32)


def loss(scores: np.ndarray, gate: np.ndarray, drawn: np.ndarray, real: np.ndarray = REAL) -> float:
    return float(adversarial_loss(*(tf.constant(x) for x in (scores, gate, drawn, real))))


def slow_loss(scores: np.ndarray, gate: np.ndarray, drawn: np.ndarray) -> float:
    p, terms = 1 / (1 + np.exp(-scores.astype(np.float64))), []
    for b, n in zip(*np.nonzero(REAL), strict=True):
        weights, others = (gate[b], drawn[b]) if gate.ndim == 2 else (gate[b, n], drawn[b, n])
        top = np.argmax(np.abs(weights))
        terms.append(-sum((p[b, n, top] - p[b, n, other]) ** 2 for other in others))
    return float(np.mean(terms))


@pytest.mark.parametrize("shape", [(B, K), (B, N, K)], ids=["a gate a session", "a gate a candidate"])
@pytest.mark.parametrize("disagreeing", [1, 3, K - 1])
def test_equals_a_slow_loop(shape: tuple[int, ...], disagreeing: int) -> None:
    scores, gate = random(B, N, K), random(*shape, seed=1)
    drawn = draw_disagreeing(tf.constant(gate), disagreeing, RandomNumbers(0)).numpy()
    value = loss(scores, gate, drawn)
    assert value == pytest.approx(slow_loss(scores, gate, drawn), rel=1e-5)
    assert -disagreeing <= value <= 0


@pytest.mark.parametrize("shape", [(200, K), (40, 5, K)])
@pytest.mark.parametrize("disagreeing", [1, 3, K - 1])
def test_the_top_expert_is_never_drawn_and_the_others_all_are(shape: tuple[int, ...], disagreeing: int) -> None:
    gate = random(*shape)
    drawn = draw_disagreeing(tf.constant(gate), disagreeing, RandomNumbers(0)).numpy()
    assert drawn.shape == (*shape[:-1], disagreeing)
    top = np.argmax(np.abs(gate), axis=-1)
    assert (drawn != top[..., None]).all()
    pairs = np.column_stack([top.repeat(disagreeing), drawn.ravel()])
    counts = np.unique(pairs, axis=0)
    assert len(counts) == K * (K - 1), "some expert is never drawn against some other"
    assert (np.diff(np.sort(drawn)) > 0).all(), "an expert is drawn twice for one gate"


def test_of_a_sparse_gate_idle_experts_are_drawn() -> None:
    gate = np.zeros((300, K), np.float32)
    gate[:, 1], gate[:, 4] = 0.3, -0.7
    drawn = draw_disagreeing(tf.constant(gate), 2, RandomNumbers(0)).numpy()
    assert set(drawn.ravel()) == {0, 2, 3, 5}


def test_padding_changes_nothing_and_a_batch_of_padding_is_0() -> None:
    scores, gate = random(B, N, K), random(B, K, seed=1)
    drawn = draw_disagreeing(tf.constant(gate), 2, RandomNumbers(0)).numpy()
    other = np.where(REAL[..., None], scores, 1e4).astype(np.float32)
    assert loss(other, gate, drawn) == pytest.approx(loss(scores, gate, drawn), rel=1e-6)
    assert loss(scores, gate, drawn, np.zeros_like(REAL)) == 0


@pytest.mark.parametrize("scale", [0, 1, 1e4])
def test_gradients_are_finite(scale: float) -> None:
    scores, gate = tf.constant(scale * random(B, N, K)), tf.constant(random(B, K, seed=1))
    with tf.GradientTape() as tape:
        tape.watch(scores)
        value = adversarial_loss(scores, gate, draw_disagreeing(gate, 3, RandomNumbers(0)), tf.constant(REAL))
    gradient = tape.gradient(value, scores).numpy()
    assert np.isfinite(gradient).all()
    assert not gradient[~REAL].any()


def test_equal_scores_give_0_and_opposite_ones_the_least() -> None:
    gate = np.eye(K, dtype=np.float32)[[2] * B]
    scores = np.where(gate[:, None] > 0, 50.0, -50.0).astype(np.float32).repeat(N, axis=1)
    drawn = draw_disagreeing(tf.constant(gate), K - 1, RandomNumbers(0)).numpy()
    assert loss(np.ones((B, N, K), np.float32), gate, drawn) == 0
    assert loss(scores, gate, drawn) == pytest.approx(-(K - 1), rel=1e-6)
