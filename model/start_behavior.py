"""The learned behaviour that every session begins with."""

from __future__ import annotations

import tensorflow as tf


class StartBehavior(tf.keras.layers.Layer):
    """Prepends one learned vector to every session's behaviours; it is never masked.

    Without it eq. 8 gives a user without behaviours a gate of zeros, and all candidates the
    same score.
    """

    def __init__(self) -> None:
        super().__init__(name="start_behavior")

    def build(self, behaviors_shape: tf.TensorShape) -> None:
        """Makes the vector, as wide as a behaviour."""
        self.vector = self.add_weight("vector", [behaviors_shape[-1]], initializer="uniform")

    def call(self, behaviors: tf.Tensor, counts: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Behaviours `[B, T, E]` and their counts `[B]` to `[B, T+1, E]` and the mask `[B, T+1]`, 1 where real."""
        start = tf.broadcast_to(self.vector, [tf.shape(behaviors)[0], 1, self.vector.shape[0]])
        mask = tf.sequence_mask(counts + 1, tf.shape(behaviors)[1] + 1, dtype=behaviors.dtype)
        return tf.concat([start, behaviors], axis=1), mask
