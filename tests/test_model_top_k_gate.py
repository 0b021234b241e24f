"""The sparse gate: which experts are chosen, their weights, and the load balance."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from model.category_gate import CategoryGate
from model.load_balance_loss import load_balance_loss
from model.random_numbers import RandomNumbers
from model.top_k_gate import SparseGate, TopKGate
from pipeline.config import Experts

K = 6


def gate_layer(*, normalize: bool = False, **options: Any) -> TopKGate:
    return TopKGate(Experts(count=K, **options), RandomNumbers(3), normalize=normalize)


def random_gate(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(*shape, K)).astype(np.float32)


def with_known_noise(
    layer: TopKGate, gate: np.ndarray, scale: np.ndarray | None = None
) -> tuple[SparseGate, np.ndarray]:
    """The gate in training, of a layer that drew nothing before, and the standard normal numbers that it drew."""
    sparse = layer(tf.constant(gate), None if scale is None else tf.constant(scale), training=True)
    return sparse, RandomNumbers(3).normal(gate.shape).numpy()


def chance_of(sparse: SparseGate) -> np.ndarray:
    assert sparse.chance is not None
    return sparse.chance.numpy()


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize("shape", [(7,), (3, 4)], ids=["a gate a session", "a gate a candidate"])
def test_the_k_largest_keep_their_weights(shape: tuple[int, ...], k: int, normalize: bool) -> None:
    gate = random_gate(*shape)
    weights = gate_layer(top_k=k, normalize=normalize)(tf.constant(gate)).weights.numpy()
    chosen = gate >= np.sort(gate, axis=-1)[..., -k, None]
    expected = np.where(chosen, np.exp(gate) if normalize else gate, 0)
    if normalize:
        expected /= expected.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(weights, expected, rtol=1e-6)
    assert ((weights != 0).sum(axis=-1) == k).all()


def test_negative_entries_can_be_chosen() -> None:
    weights = gate_layer(top_k=2)(tf.constant([[-5.0, -1, -3, -2, -4, -6]])).weights
    np.testing.assert_array_equal(weights, [[0, -1, 0, -2, 0, 0]])


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("gate", [np.ones(K), np.array([3, 1, 1, 1, 1, 0]), np.array([2, 2, 2, 1, 1, 1])])
def test_of_equal_entries_exactly_k_are_chosen(gate: np.ndarray, normalize: bool) -> None:
    weights = gate_layer(top_k=2, normalize=normalize)(tf.constant(gate[None], tf.float32)).weights.numpy()[0]
    np.testing.assert_array_equal(np.flatnonzero(weights), [0, 1])
    assert weights.sum() == pytest.approx(1 if normalize else gate[:2].sum())


def test_without_top_k_all_are_chosen() -> None:
    gate = random_gate(4)
    np.testing.assert_array_equal(gate_layer()(tf.constant(gate)).weights, gate)
    softmax = gate_layer(normalize=True)(tf.constant(gate)).weights
    np.testing.assert_allclose(softmax, tf.nn.softmax(gate), rtol=1e-6)


@pytest.mark.parametrize("normalize", [False, True])
def test_noise_decides_in_training_only(normalize: bool) -> None:
    layer, gate = gate_layer(top_k=2, noise=0.7, normalize=normalize), random_gate(50)
    quiet = layer(tf.constant(gate))
    np.testing.assert_array_equal(quiet.weights, gate_layer(top_k=2, normalize=normalize)(tf.constant(gate)).weights)
    assert quiet.chance is None

    scale = np.random.default_rng(1).uniform(0.5, 2, gate.shape).astype(np.float32)
    sparse, drawn = with_known_noise(layer, gate, scale)
    noisy = gate + 0.7 * scale * drawn
    chosen = noisy >= np.sort(noisy)[:, -2, None]
    np.testing.assert_array_equal(sparse.weights.numpy() != 0, chosen)
    assert (chosen != (quiet.weights.numpy() != 0)).any(), "this noise changed no choice"
    # A gate that is no softmax keeps its entries as they are, without the noise.
    expected = np.where(chosen, np.exp(noisy) if normalize else gate, 0)
    expected = expected / expected.sum(axis=1, keepdims=True) if normalize else expected
    np.testing.assert_allclose(sparse.weights, expected, rtol=1e-5)


@pytest.mark.parametrize("k", [1, 2, 4])
def test_the_chance_is_that_of_another_draw_of_the_entrys_own_noise(k: int) -> None:
    """Shazeer et al., eq. 8 and 9: the other entries' noise stays as it was drawn."""
    gate, scale = random_gate(3), np.random.default_rng(1).uniform(0.3, 1.5, (3, K)).astype(np.float32)
    sparse, drawn = with_known_noise(gate_layer(top_k=k, noise=0.8), gate, scale)
    draws, chance = 20_000, chance_of(sparse)
    again = np.random.default_rng(2).normal(size=draws)
    for row, expert in np.ndindex(3, K):
        noisy = np.tile(gate[row] + 0.8 * scale[row] * drawn[row], (draws, 1))
        noisy[:, expert] = gate[row, expert] + 0.8 * scale[row, expert] * again
        rank = (noisy > noisy[:, [expert]]).sum(axis=1)
        # 20,000 draws give a share to within 0.0035 (one deviation).
        assert chance[row, expert] == pytest.approx((rank < k).mean(), abs=0.015), (row, expert)


def squared_variation(totals: np.ndarray) -> float:
    return float((totals.std() / totals.mean()) ** 2)


def test_load_balance_is_the_squared_variation_of_importance_and_load() -> None:
    layer, real = gate_layer(top_k=2, noise=1.0, load_balance=0.1), tf.ones([9, 2], tf.bool)
    gate = random_gate(9)
    quiet = layer(tf.constant(gate))
    importance = np.abs(quiet.weights.numpy()).sum(axis=0)
    assert float(load_balance_loss(quiet, real)) == pytest.approx(squared_variation(importance), rel=1e-5)

    sparse, _ = with_known_noise(layer, gate)
    parts = [np.abs(sparse.weights.numpy()).sum(axis=0), chance_of(sparse).sum(axis=0)]
    assert float(load_balance_loss(sparse, real)) == pytest.approx(sum(map(squared_variation, parts)), rel=1e-5)


def test_load_balance_of_equal_loads_is_0_and_of_one_expert_alone_the_most() -> None:
    real = tf.ones([K, 1], tf.bool)
    turns = tf.eye(K) - tf.roll(tf.eye(K), 1, axis=1)  # each expert once with weight 1 and once with -1
    assert float(load_balance_loss(SparseGate(turns, tf.ones([K, K])), real)) == pytest.approx(0, abs=1e-7)
    alone = tf.one_hot([2] * K, K)
    assert float(load_balance_loss(SparseGate(alone, None), real)) == pytest.approx(K - 1, rel=1e-6)
    assert float(load_balance_loss(SparseGate(tf.zeros([K, K]), None), real)) == 0


def test_padded_candidates_have_no_part_in_the_load() -> None:
    layer = gate_layer(top_k=2, noise=1.0)
    sparse, _ = with_known_noise(layer, random_gate(2, 3))
    real = np.array([[True, True, False], [True, False, False]])
    kept = SparseGate(tf.constant(sparse.weights.numpy()[real]), tf.constant(chance_of(sparse)[real]))
    expected = float(load_balance_loss(kept, tf.constant(real)))
    assert float(load_balance_loss(sparse, tf.constant(real))) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4])
@pytest.mark.parametrize("normalize", [False, True])
def test_gradients_are_finite_and_reach_what_makes_the_noise(normalize: bool, scale: float) -> None:
    layer, category = gate_layer(top_k=2, noise=1.0, normalize=normalize), CategoryGate(K, noise=True)
    inputs = tf.constant(scale * np.random.default_rng(0).normal(size=(5, 3)), tf.float32)
    with tf.GradientTape() as tape:
        logits, noise = category(inputs)
        loss = load_balance_loss(layer(logits, noise, training=True), tf.ones([5, 1], tf.bool))
    gradients = dict(zip(("linear", "noise"), tape.gradient(loss, category.trainable_variables), strict=True))
    for name, gradient in gradients.items():
        assert np.isfinite(gradient).all(), name
        # Of huge logits every chance is 0 or 1, and the choice hangs on nothing.
        assert scale != 1 or np.abs(gradient).max() > 1e-6, f"{name} does not train"
