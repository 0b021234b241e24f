"""How evenly gates spread over the experts, as a streaming Keras metric."""

from __future__ import annotations

import tensorflow as tf


class GateEntropy(tf.keras.metrics.Metric):
    """Mean entropy of gates, in shares of its greatest: 1 where all experts weigh alike, 0 where one has it all.

        p_k = |g_k| / sum_j |g_j|,    H = -sum_k p_k log p_k / log K

    Absolute values, since a gate's entries may be negative. A gate of zeros has entropy 0, and so has one expert.
    """

    def __init__(self, name: str = "gate_entropy") -> None:
        super().__init__(name=name)
        self.total = self.add_weight("total", initializer="zeros")
        self.gates = self.add_weight("gates", initializer="zeros")

    def update_state(self, gates: tf.Tensor) -> None:
        """Adds gates `[..., K]`."""
        gates = tf.abs(tf.cast(gates, tf.float32))
        shares = tf.math.divide_no_nan(gates, tf.reduce_sum(gates, axis=-1, keepdims=True))
        entropy = -tf.reduce_sum(tf.math.xlogy(shares, shares), axis=-1)
        most = tf.math.log(tf.cast(tf.shape(gates)[-1], tf.float32))
        self.total.assign_add(tf.reduce_sum(tf.math.divide_no_nan(entropy, most)))
        self.gates.assign_add(tf.cast(tf.size(entropy), tf.float32))

    def result(self) -> tf.Tensor:
        """The mean so far; 0 before any gate."""
        return tf.math.divide_no_nan(self.total, self.gates)
