"""The random numbers that a model draws in training."""

from __future__ import annotations

import tensorflow as tf


class RandomNumbers:
    """One generator for all parts of a model: its state says what they will draw next.

    Each draw takes one seed from it, and its numbers from the seed. So the state moves by as much whatever is drawn: of
    several replicas, whose parts of a batch differ in size, all have the same, and each a stream of its own.

    No class that TensorFlow tracks: a layer that has one does not save the state with its weights.

    Args:
        seed: the same seed gives the same numbers.

    Attributes:
        generator: a checkpoint that holds it lets a training go on with the numbers that come next.
    """

    def __init__(self, seed: int) -> None:
        self.generator = tf.random.Generator.from_seed(seed)

    def uniform(self, shape: tf.Tensor) -> tf.Tensor:
        """Numbers of `[0, 1)`, float32."""
        return tf.random.stateless_uniform(shape, self._seed())

    def integers(self, shape: tf.Tensor, first: int, end: int) -> tf.Tensor:
        """Integers of `[first, end)`, int32."""
        return tf.random.stateless_uniform(shape, self._seed(), first, end, tf.int32)

    def normal(self, shape: tf.Tensor) -> tf.Tensor:
        """Standard normal numbers, float32."""
        return tf.random.stateless_normal(shape, self._seed())

    def _seed(self) -> tf.Tensor:
        return self.generator.make_seeds(1)[:, 0]
