"""The experts, eq. 5."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from model.experts import Experts

K = 3


def experts(candidates: tf.Tensor, session: tf.Tensor | None, count: int = K) -> Experts:
    layer = Experts(count, [6, 5])
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


def one_hot_of(chosen: np.ndarray, count: int) -> np.ndarray:
    """Which expert a session uses, `[B, 1, K]`."""
    return np.eye(count)[chosen].sum(axis=1)[:, None]


def inputs_of(batch: int, with_session: bool) -> tuple[tf.Tensor, tf.Tensor | None]:
    session = tf.random.stateless_normal([batch, 3], seed=[1, 2]) if with_session else None
    return tf.random.stateless_normal([batch, 4, 7], seed=[1, 1]), session


@st.composite
def choices(draw: st.DrawFn) -> tuple[int, np.ndarray]:
    """K, and k different experts for each session."""
    count = draw(st.sampled_from([2, 5, 64]))
    k = draw(st.integers(1, min(count, 5)))
    batch = draw(st.integers(1, 6))
    popular = draw(st.lists(st.integers(0, count - 1), min_size=k, max_size=k, unique=True))
    rows = st.one_of(st.just(popular), st.lists(st.integers(0, count - 1), min_size=k, max_size=k, unique=True))
    return count, np.array(draw(st.lists(rows, min_size=batch, max_size=batch)))


@settings(max_examples=25)
@given(choice=choices(), with_session=st.booleans(), training=st.booleans())
def test_of_chosen_experts_scores_and_gradients_are_those_of_all(
    choice: tuple[int, np.ndarray], with_session: bool, training: bool
) -> None:
    """Also where all sessions choose the same, or are one; where K is 64 and nearly all are idle."""
    count, chosen = choice
    inputs = inputs_of(len(chosen), with_session)
    layer, mask = experts(*inputs, count), one_hot_of(chosen, count)
    sources = [*layer.trainable_variables, *(tensor for tensor in inputs if tensor is not None)]
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(sources)
        scores = layer(inputs, tf.constant(chosen, tf.int32), training=training)
        dense = layer(inputs) * mask
        loss, dense_loss = tf.reduce_sum(tf.sin(scores)), tf.reduce_sum(tf.sin(dense))
    np.testing.assert_allclose(scores, dense, rtol=1e-5, atol=1e-5)
    for source, ours, theirs in zip(
        sources, tape.gradient(loss, sources), tape.gradient(dense_loss, sources), strict=True
    ):
        assert ours is not None, f"{getattr(source, 'name', 'an input')} has no gradient"
        np.testing.assert_allclose(tf.convert_to_tensor(ours), theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("training", [False, True])
def test_chosen_experts_in_a_graph_of_open_shapes(training: bool) -> None:
    layer = experts(*inputs_of(1, True), 64)

    @tf.function(
        input_signature=[tf.TensorSpec([None, None, 7]), tf.TensorSpec([None, 3]), tf.TensorSpec([None, 2], tf.int32)]
    )
    def score(candidates: tf.Tensor, session: tf.Tensor, chosen: tf.Tensor) -> tf.Tensor:
        return layer((candidates, session), chosen, training=training)

    for batch in (1, 5):
        inputs = inputs_of(batch, True)
        chosen = np.random.default_rng(batch).permuted(np.tile(np.arange(64), (batch, 1)), axis=1)[:, :2]
        expected = layer(inputs) * one_hot_of(chosen, 64)
        np.testing.assert_allclose(score(*inputs, tf.constant(chosen, tf.int32)), expected, rtol=1e-5, atol=1e-5)


def test_only_chosen_experts_are_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the multiplications of its matrix products: 64 experts, of which one session uses 2."""
    inputs = inputs_of(1, True)
    layer = experts(*inputs, 64)
    products, matmul = [], tf.matmul

    def recorded(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
        result = matmul(a, b)
        products.append(int(np.prod(result.shape)) * a.shape[-1])
        return result

    monkeypatch.setattr(tf, "matmul", recorded)

    def multiplications(*arguments: tf.Tensor, training: bool = False) -> int:
        products.clear()
        layer(inputs, *arguments, training=training)
        return sum(products)

    everything = multiplications()
    assert everything == 64 * (4 * (7 * 6 + 6 * 5 + 5) + 3 * 6)
    assert multiplications(tf.constant([[3, 60]])) == everything * 2 // 64
    # In training every expert gets as many places as the most wanted one needs, here 1.
    assert multiplications(tf.constant([[3, 60]]), training=True) == everything

    inputs = inputs_of(64, True)
    even = tf.constant([[i, (i + 1) % 64] for i in range(64)])
    assert multiplications(even, training=True) == multiplications() * 2 // 64
