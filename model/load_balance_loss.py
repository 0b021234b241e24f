"""The load-balancing term: all experts shall be used."""

from __future__ import annotations

import tensorflow as tf

from model.global_mean import global_sum
from model.top_k_gate import SparseGate


def load_balance_loss(gate: SparseGate, real: tf.Tensor) -> tf.Tensor:
    """Squared coefficients of variation, over experts, of importance and load, added up.

    Importance is an expert's sum of absolute weights over the global batch, load its expected
    number of sessions; load only with noise, which makes it differentiable.

    Args:
        gate: of each session, or of each candidate.
        real: which candidates are real, `[B, N]`; the others have no part.

    Returns:
        A scalar; of several replicas each has the same part of it.

    Reference: Shazeer et al., The Sparsely-Gated Mixture-of-Experts Layer, ICLR 2017.
    """
    parts = [tf.abs(gate.weights)] + ([] if gate.chance is None else [gate.chance])
    if gate.weights.shape.rank == 3:
        parts = [tf.boolean_mask(part, real) for part in parts]
    totals = global_sum(tf.stack([tf.reduce_sum(part, axis=0) for part in parts]))
    mean, variance = tf.nn.moments(totals, axes=[1])
    squared_variations = tf.math.divide_no_nan(variance, tf.square(mean))
    return tf.reduce_sum(squared_variations) / tf.distribute.get_strategy().num_replicas_in_sync
