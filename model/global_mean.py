"""Sums and means over the global batch, of which a replica holds a part."""

from __future__ import annotations

import tensorflow as tf


def global_mean(values: tf.Tensor, weights: tf.Tensor | None = None) -> tf.Tensor:
    """This replica's part of the mean over the global batch, a scalar; 0 where the global batch has nothing.

        sum_here(w x) / sum_everywhere(w)

    The parts of all replicas add up to the mean, and so do their gradients. With one replica it is the mean.

    Args:
        values: of any shape.
        weights: of the same shape, no function of what is trained; default: 1.
    """
    weights = tf.ones_like(values) if weights is None else weights
    return tf.math.divide_no_nan(tf.reduce_sum(values * weights), global_sum(tf.reduce_sum(weights)))


def global_sum(values: tf.Tensor) -> tf.Tensor:
    """The sum over all replicas, of the same shape; its gradient reaches the values of each."""
    if tf.distribute.get_strategy().num_replicas_in_sync == 1:
        return values
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, values)
