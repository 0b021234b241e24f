"""The adversarial term on the experts: those that are not used shall disagree."""

from __future__ import annotations

import tensorflow as tf

from model.global_mean import global_mean
from model.random_numbers import RandomNumbers


def draw_disagreeing(gate: tf.Tensor, disagreeing: int, random_numbers: RandomNumbers) -> tf.Tensor:
    """Experts that shall disagree with the top one, drawn at random: int32 `[..., disagreeing]`.

    They are idle ones of a sparse gate, and any but the top one of a dense gate.

    Args:
        gate: `[..., K]`.
        disagreeing: how many, at most as many as are idle, or below K.
        random_numbers: the model's.
    """
    used = tf.cast(gate != 0, tf.float32)
    # Random priorities, those of experts in use below the others', and the top expert's the lowest.
    priority = random_numbers.uniform(tf.shape(gate)) - used - 2 * _top(gate)
    return tf.math.top_k(priority, disagreeing).indices


def adversarial_loss(scores: tf.Tensor, gate: tf.Tensor, drawn: tf.Tensor, real: tf.Tensor) -> tf.Tensor:
    """Mean over the global batch's real candidates of `-sum (p_top - p_drawn)^2`, with `p = sigmoid(s)`.

    The pairs are of the expert with the largest weight, whatever its sign, and of those drawn.
    The original takes the scores themselves, which may grow without bound; of probabilities no
    square is above 1.

    Args:
        scores: of the experts, `[B, N, K]`; of those drawn too, where the gate is sparse.
        gate: `[B, K]`, or `[B, N, K]`.
        drawn: what `draw_disagreeing` gave for the gate.
        real: which candidates are real, `[B, N]`.

    Returns:
        A scalar between minus the number of those drawn and 0.

    Reference: Xiao et al., Adversarial Mixture of Experts with Category Hierarchy Soft
    Constraint, ICDE 2021.
    """
    top, others = _top(gate), tf.reduce_sum(tf.one_hot(drawn, gate.shape[-1]), axis=-2)
    if gate.shape.rank == 2:
        top, others = top[:, tf.newaxis], others[:, tf.newaxis]
    probability = tf.sigmoid(scores)
    difference = tf.reduce_sum(probability * top, axis=-1, keepdims=True) - probability
    squares = tf.reduce_sum(tf.square(difference) * others, axis=-1)
    return -global_mean(squares, tf.cast(real, squares.dtype))


def _top(gate: tf.Tensor) -> tf.Tensor:
    """One where the largest weight is, `[..., K]`."""
    return tf.one_hot(tf.argmax(tf.abs(gate), axis=-1), gate.shape[-1])
