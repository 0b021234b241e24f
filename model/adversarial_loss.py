"""The adversarial term on the experts: those that are not used shall disagree."""

from __future__ import annotations

import tensorflow as tf


def adversarial_loss(scores: tf.Tensor, gate: tf.Tensor, real: tf.Tensor, disagreeing: int) -> tf.Tensor:
    """Mean over real candidates of `-sum (p_top - p_disagreeing)^2`, with `p = sigmoid(s)`.

    The pairs are of the expert with the largest weight and of `disagreeing` others, drawn at
    random. The original takes the scores themselves, which may grow without bound; of
    probabilities no square is above 1.

    Args:
        scores: of the experts, `[B, N, K]`.
        gate: `[B, K]`, or `[B, N, K]`.
        real: which candidates are real, `[B, N]`.
        disagreeing: how many experts, below K.

    Returns:
        A scalar between `-disagreeing` and 0.

    Reference: Xiao et al., Adversarial Mixture of Experts with Category Hierarchy Soft
    Constraint, ICDE 2021.
    """
    experts = gate.shape[-1]
    weights = tf.abs(gate if gate.shape.rank == 3 else gate[:, tf.newaxis])
    top = tf.argmax(weights, axis=-1)
    # Random priorities, the top expert's the lowest: the largest are a draw of the others.
    priority = tf.random.uniform(tf.shape(weights)) - 2 * tf.one_hot(top, experts)
    drawn = tf.reduce_sum(tf.one_hot(tf.math.top_k(priority, disagreeing).indices, experts), axis=-2)
    probability = tf.sigmoid(scores)
    difference = tf.reduce_sum(probability * tf.one_hot(top, experts), axis=-1, keepdims=True) - probability
    squares = tf.reduce_sum(tf.square(difference) * drawn, axis=-1)
    mask = tf.cast(real, squares.dtype)
    return -tf.math.divide_no_nan(tf.reduce_sum(squares * mask), tf.reduce_sum(mask))
