"""Several units on the same pairs, as one computation."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from model.activation_unit import ActivationUnit
from model.joint_units import joint_units


def units(outputs: tuple[int, ...], size: int, seed: int) -> list[ActivationUnit]:
    """Built, with random weights and biases."""
    made = [ActivationUnit((5, 3), count, name=f"unit_{i}") for i, count in enumerate(outputs)]
    rng = np.random.default_rng(seed)
    for unit in made:
        unit.build(tf.TensorShape([None, None, size]))
        for weight in unit.trainable_variables:
            weight.assign(rng.normal(0, 0.5, weight.shape))
    return made


@given(
    outputs=st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple),
    batch=st.integers(1, 3),
    behaviors=st.integers(1, 6),
    seed=st.integers(0, 1000),
)
@settings(max_examples=15, deadline=None)
def test_equal_each_unit_alone_with_its_gradients(
    outputs: tuple[int, ...], batch: int, behaviors: int, seed: int
) -> None:
    made = units(outputs, 4, seed)
    keys = tf.random.stateless_normal([batch, behaviors, 4], [seed, 1])
    query = tf.random.stateless_normal([batch, 4], [seed, 2])
    weights = [weight for unit in made for weight in unit.trainable_variables]
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([keys, query])
        apart = [unit(keys, query) for unit in made]
        together = joint_units(made, keys, query)
        losses = [tf.add_n([tf.reduce_sum(tf.square(o)) for o in of]) for of in (apart, together)]
    for one, other in zip(together, apart, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    expected, found = (tape.gradient(loss, [keys, query, *weights]) for loss in losses)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


def test_in_bfloat16_outputs_are_float32_and_close() -> None:
    made = units((2, 1), 4, seed=1)
    keys, query = tf.random.stateless_normal([2, 3, 4], [1, 1]), tf.random.stateless_normal([2, 4], [1, 2])
    exact = joint_units(made, keys, query)
    for unit in made:
        unit.product_dtype = tf.bfloat16
    for one, other in zip(joint_units(made, keys, query), exact, strict=True):
        assert one.dtype == tf.float32
        np.testing.assert_allclose(one, other, atol=0.05)
        assert np.abs(one - other).max() > 0, "equal to float32 to the last bit: it was not computed in bfloat16"
