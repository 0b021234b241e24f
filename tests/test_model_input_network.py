"""The input network, eq. 2 to 4."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from model.input_network import InputNetwork
from pipeline.config import Model

OPTIONS = Model(hidden_layers=(6,), activation_layers=(5, 3))
POOLINGS = pytest.mark.parametrize("pooling", ["sum", "mean"])


def network_of(pooling: str) -> InputNetwork:
    return InputNetwork(OPTIONS.model_copy(update={"pooling": pooling}))


def random(*shape: int, seed: int = 0) -> tf.Tensor:
    return tf.random.stateless_normal(shape, seed=[seed, len(shape)])


@POOLINGS
def test_interest_is_the_masked_weighted_sum_or_mean(pooling: str) -> None:
    network = network_of(pooling)
    behaviors, candidates = random(2, 4, 7), random(2, 3, 8)
    mask = tf.constant([[1.0, 1, 1, 0], [1.0, 0, 0, 0]])
    vectors, session = network(behaviors, mask, candidates, random(2, 5), random(2, 2))
    assert vectors.shape == (2, 3, 12)
    assert session.shape == (2, 12)

    h_b, h_t = network.behavior_mlp(behaviors), network.candidate_mlp(candidates)
    assert network.activation_unit
    weights = network.activation_unit(h_b, h_t).numpy()
    for b, n in np.ndindex(2, 3):
        expected = sum(mask[b, t] * weights[b, t, n, 0] * h_b[b, t] for t in range(4))
        if pooling == "mean":
            expected /= (3, 1)[b]
        np.testing.assert_allclose(vectors[b, n, :6], expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(vectors[b, n, 6:], h_t[b, n], rtol=1e-6)


def test_query_and_user_may_be_absent() -> None:
    behaviors, mask, candidates = random(2, 4, 7), tf.ones([2, 4]), random(2, 3, 8)
    assert InputNetwork(OPTIONS)(behaviors, mask, candidates, None, random(2, 2))[1].shape == (2, 6)
    assert InputNetwork(OPTIONS)(behaviors, mask, candidates, None, None)[1] is None


@POOLINGS
def test_padding_changes_nothing_and_gradients_stay_finite(pooling: str) -> None:
    network = network_of(pooling)
    behaviors, candidates = random(2, 4, 7), random(2, 3, 8)
    mask = tf.constant([[1.0, 1, 0, 0], [0.0, 0, 0, 0]])
    short, _ = network(behaviors[:, :2], mask[:, :2], candidates, None, None)
    garbage = tf.where(mask[..., tf.newaxis] > 0, behaviors, 1e6)
    with tf.GradientTape() as tape:
        tape.watch(garbage)
        padded, _ = network(garbage, mask, candidates, None, None)
        loss = tf.reduce_sum(padded**2)
    np.testing.assert_allclose(padded, short, rtol=1e-6, atol=1e-6)
    gradient = tape.gradient(loss, garbage).numpy()
    assert np.isfinite(gradient).all()
    assert not gradient[mask.numpy() == 0].any()
