"""The start behaviour."""

import numpy as np
import tensorflow as tf

from model.start_behavior import StartBehavior


def test_the_vector_comes_first_and_is_never_masked() -> None:
    layer = StartBehavior()
    behaviors = tf.random.stateless_normal([3, 2, 5], seed=[1, 2])
    extended, mask = layer(behaviors, tf.constant([0, 1, 2], tf.int64))
    np.testing.assert_array_equal(extended[:, 1:], behaviors)
    np.testing.assert_array_equal(extended[:, 0], np.tile(layer.vector, (3, 1)))
    assert mask.numpy().tolist() == [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
    assert np.abs(layer.vector.numpy()).max() > 0
