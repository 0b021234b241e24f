"""The factored FFN on pairs."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from model.activation_unit import ActivationUnit


def unit(outputs: int = 3) -> ActivationUnit:
    tf.keras.utils.set_random_seed(0)
    layer = ActivationUnit([7, 5], outputs, name="unit")
    layer(tf.zeros([1, 1, 4]), tf.zeros([1, 4]))
    rng = np.random.default_rng(1)
    for weight in layer.trainable_variables:
        weight.assign(rng.normal(0, 0.5, weight.shape))
    return layer


def unfactored(layer: ActivationUnit, key: np.ndarray, query: np.ndarray) -> np.ndarray:
    """The FFN on `[k, q, k - q, k * q]`, with the weights that give the factored ones.

    `k Wa + q Wb + (k * q) Wc` has one freedom more to spread over four blocks; any choice of
    the third, here random, is matched by `W1 = Wa - W3` and `W2 = Wb + W3`.
    """
    third = np.random.default_rng(2).normal(size=(4, 7))
    key_kernel, bias = (weight.numpy() for weight in layer.key_layer.weights)
    blocks = [
        key_kernel - third,
        layer.query_layer.kernel.numpy() + third,
        third,
        layer.product_layer.kernel.numpy(),
    ]
    hidden = np.maximum(np.concatenate([key, query, key - query, key * query]) @ np.concatenate(blocks) + bias, 0)
    for index, dense in enumerate(layer.upper_layers):
        hidden = hidden @ dense.kernel.numpy() + dense.bias.numpy()
        if index < len(layer.upper_layers) - 1:
            hidden = np.maximum(hidden, 0)
    return hidden


@pytest.mark.parametrize("by_session", [False, True])
@pytest.mark.parametrize("outputs", [1, 3])
def test_equals_the_unfactored_form(outputs: int, by_session: bool) -> None:
    layer, rng = unit(outputs), np.random.default_rng(3)
    layer.by_session = by_session
    keys, queries = rng.normal(size=(2, 3, 4)).astype(np.float32), rng.normal(size=(2, 5, 4)).astype(np.float32)
    pairs = layer(tf.constant(keys), tf.constant(queries)).numpy()
    assert pairs.shape == (2, 3, 5, outputs)
    for b, n, t in np.ndindex(2, 5, 3):
        np.testing.assert_allclose(pairs[b, t, n], unfactored(layer, keys[b, t], queries[b, n]), rtol=1e-4, atol=1e-5)


def test_one_query_a_session_equals_one_of_many() -> None:
    layer, rng = unit(), np.random.default_rng(4)
    keys, queries = rng.normal(size=(2, 3, 4)).astype(np.float32), rng.normal(size=(2, 5, 4)).astype(np.float32)
    many = layer(tf.constant(keys), tf.constant(queries)).numpy()
    one = layer(tf.constant(keys), tf.constant(queries[:, 2])).numpy()
    assert one.shape == (2, 3, 3)
    np.testing.assert_allclose(one, many[:, :, 2], rtol=1e-6, atol=1e-6)
