"""The ranking losses, against a slow loop."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from model.ranking_loss import ranking_loss

NAMES = ["pointwise", "listwise", "pairwise"]
#: Rows of labels; the numbers of positives and negatives differ, and some have one class only.
LABELS = np.array(
    [[1, 0, 0, 1, 1], [1, 0, 0, 0, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1], [0, 1, 0, 1, 0], [1, 0, 1, 0, 0]]
)
COUNTS = np.array([5, 4, 5, 3, 2, 1])
WIDTH = LABELS.shape[1]


def real_of(counts: np.ndarray, width: int = WIDTH) -> np.ndarray:
    return np.arange(width) < counts[:, None]


def logits_with_ties(seed: int, shape: tuple[int, int] = LABELS.shape) -> np.ndarray:
    return np.random.default_rng(seed).integers(-3, 4, shape) / 2


def loss(
    name: str, labels: np.ndarray, logits: np.ndarray, real: np.ndarray, weights: np.ndarray | None = None
) -> tuple[float, np.ndarray]:
    """The loss and its gradient by the logits."""
    weighed = None if weights is None else tf.constant(weights, tf.float32)
    variable = tf.constant(logits, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(variable)
        value = ranking_loss(name, tf.constant(labels, tf.float32), variable, tf.constant(real), weighed)
    return float(value), tape.gradient(value, variable).numpy()


def slow_loss(
    name: str, labels: np.ndarray, logits: np.ndarray, counts: np.ndarray, weights: np.ndarray | None = None
) -> float:
    weights = np.ones(labels.shape) if weights is None else weights
    terms: list[float] = []
    for row, count in enumerate(counts):
        y, s, w = labels[row, :count], logits[row, :count], weights[row, :count]
        if name == "pointwise":
            p = 1 / (1 + np.exp(-s))
            terms += list(-w * (y * np.log(p) + (1 - y) * np.log(1 - p)))
        elif name == "listwise" and y.any():
            softmax = np.exp(s) / np.exp(s).sum()
            terms.append(np.mean([-w[i] * np.log(softmax[i]) for i in range(count) if y[i]]))
        elif name == "pairwise" and y.any() and not y.all():
            pairs = [(i, j) for i in range(count) for j in range(count) if y[i] and not y[j]]
            terms.append(np.mean([w[i] * np.log(1 + np.exp(s[j] - s[i])) for i, j in pairs]))
    return float(np.mean(terms))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", range(3))
def test_equals_a_slow_loop(name: str, seed: int) -> None:
    logits = logits_with_ties(seed)
    value, _ = loss(name, LABELS, logits, real_of(COUNTS))
    assert value == pytest.approx(slow_loss(name, LABELS, logits, COUNTS), rel=1e-5)


@settings(max_examples=30)
@given(weights=st.lists(st.floats(0, 50, width=32), min_size=LABELS.size, max_size=LABELS.size), seed=st.integers(0, 9))
@pytest.mark.parametrize("name", NAMES)
def test_weighed_equals_a_slow_loop_and_padding_has_no_weight(name: str, weights: list[float], seed: int) -> None:
    weighed, logits, real = np.array(weights).reshape(LABELS.shape), logits_with_ties(seed), real_of(COUNTS)
    value, gradient = loss(name, LABELS, logits, real, weighed)
    assert value == pytest.approx(slow_loss(name, LABELS, logits, COUNTS, weighed), rel=1e-5, abs=1e-12)
    garbage = np.where(real, weighed, np.resize([np.nan, np.inf, -1.0], LABELS.shape))
    assert loss(name, LABELS, logits, real, garbage)[0] == value
    assert not gradient[~real].any()


@pytest.mark.parametrize("name", NAMES)
def test_weights_of_1_change_nothing_and_of_2_double(name: str) -> None:
    logits, real = logits_with_ties(1), real_of(COUNTS)
    value, gradient = loss(name, LABELS, logits, real)
    for weight in (1.0, 2.0):
        weighed, weighed_gradient = loss(name, LABELS, logits, real, np.full(LABELS.shape, weight))
        assert weighed == pytest.approx(weight * value, rel=1e-6)
        np.testing.assert_allclose(weighed_gradient, weight * gradient, rtol=1e-5, atol=1e-7)


@settings(max_examples=30)
@given(data=st.data())
@pytest.mark.parametrize("name", NAMES)
def test_padding_with_anything_changes_nothing(name: str, data: st.DataObject) -> None:
    numbers = st.floats(width=32)  # infinities and NaN among them
    more = data.draw(st.integers(1, 3))
    shape = (len(COUNTS), WIDTH + more)
    labels, logits = (
        np.array(data.draw(st.lists(numbers, min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]))).reshape(
            shape
        )
        for _ in range(2)
    )
    real = real_of(COUNTS, shape[1])
    narrow = logits_with_ties(0)
    labels[:, :WIDTH], logits[:, :WIDTH] = (
        np.where(real[:, :WIDTH], values, garbage[:, :WIDTH])
        for values, garbage in ((LABELS, labels), (narrow, logits))
    )
    value, gradient = loss(name, labels, logits, real)
    expected, expected_gradient = loss(name, LABELS, narrow, real[:, :WIDTH])
    assert value == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(gradient[:, :WIDTH], expected_gradient, rtol=1e-5, atol=1e-7)
    assert not gradient[~real].any(), "a padded position has a gradient"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scale", [1e4, 1e8, 1e15])
def test_extreme_logits_give_a_finite_loss_and_gradient(name: str, scale: float) -> None:
    value, gradient = loss(name, LABELS, scale * logits_with_ties(1), real_of(COUNTS))
    assert np.isfinite(value)
    assert value > 0
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_of_padding_alone_has_loss_and_gradient_0(name: str) -> None:
    value, gradient = loss(name, LABELS, logits_with_ties(0), np.zeros_like(LABELS, bool))
    assert value == 0
    assert not gradient.any()


@pytest.mark.parametrize(("name", "useless"), [("listwise", [2]), ("pairwise", [2, 3, 5])])
def test_a_session_without_the_labels_it_needs_adds_nothing(name: str, useless: list[int]) -> None:
    """Row 2 has no positive; rows 3 and 5 have, as far as they are real, no negative."""
    logits, real = logits_with_ties(2), real_of(COUNTS)
    value, gradient = loss(name, LABELS, logits, real)
    kept = np.delete(np.arange(len(COUNTS)), useless)
    assert value == pytest.approx(loss(name, LABELS[kept], logits[kept], real[kept])[0], rel=1e-6)
    assert not gradient[useless].any()
    alone = loss(name, LABELS[useless], logits[useless], real[useless])
    assert alone[0] == 0
    assert not alone[1].any()


@pytest.mark.parametrize("name", ["listwise", "pairwise"])
def test_a_shift_of_a_sessions_logits_changes_nothing(name: str) -> None:
    logits, real = logits_with_ties(3), real_of(COUNTS)
    shift = np.array([[8], [-4], [1], [0.5], [2], [-16]])  # exact in float32
    assert loss(name, LABELS, logits + shift, real)[0] == pytest.approx(loss(name, LABELS, logits, real)[0], rel=1e-6)


def test_of_one_positive_and_one_negative_pairwise_is_listwise() -> None:
    rng = np.random.default_rng(4)
    labels, logits, real = np.array([[1, 0, 1], [0, 1, 0]]), rng.normal(0, 3, (2, 3)), real_of(np.array([2, 2]), 3)
    pairwise, listwise = loss("pairwise", labels, logits, real), loss("listwise", labels, logits, real)
    assert pairwise[0] == pytest.approx(listwise[0], rel=1e-6)
    np.testing.assert_allclose(pairwise[1], listwise[1], rtol=1e-5, atol=1e-7)
