"""The experts, eq. 5."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from model.experts import Experts

K = 3


def experts(candidates: tf.Tensor, session: tf.Tensor | None) -> Experts:
    layer = Experts(K, [6, 5])
    layer((candidates, session))
    rng = np.random.default_rng(0)
    for weight in layer.trainable_variables:
        weight.assign(rng.normal(0, 0.5, weight.shape))
    return layer


@pytest.mark.parametrize("with_session", [True, False])
def test_equals_separate_mlps_on_the_concatenation(with_session: bool) -> None:
    candidates = tf.random.stateless_normal([2, 4, 7], seed=[1, 1])
    session = tf.random.stateless_normal([2, 3], seed=[1, 2]) if with_session else None
    layer = experts(candidates, session)
    scores = layer((candidates, session)).numpy()
    assert scores.shape == (2, 4, K)
    for b, n, k in np.ndindex(2, 4, K):
        hidden, kernel = candidates.numpy()[b, n], layer.candidate_kernel.numpy()[k]
        if session is not None:
            hidden = np.concatenate([hidden, session.numpy()[b]])
            kernel = np.concatenate([kernel, layer.session_kernel.numpy()[k]])
        hidden = hidden @ kernel + layer.biases[0].numpy()[k, 0]
        for upper, bias in zip(layer.upper_kernels, layer.biases[1:], strict=True):
            hidden = np.maximum(hidden, 0) @ upper.numpy()[k] + bias.numpy()[k, 0]
        np.testing.assert_allclose(scores[b, n, k], hidden[0], rtol=1e-4, atol=1e-5)


def test_kernels_start_as_those_of_separate_mlps() -> None:
    """Keras alone would count the expert axis into the fan, and start far too small."""
    layer = Experts(8, [100])
    layer((tf.zeros([1, 1, 60]), tf.zeros([1, 40])))
    limit = np.sqrt(6 / (100 + 100))
    for kernel in (layer.candidate_kernel, layer.session_kernel):
        assert np.abs(kernel.numpy()).max() == pytest.approx(limit, rel=0.01)
    assert len({tuple(kernel.ravel()) for kernel in layer.candidate_kernel.numpy()}) == 8
