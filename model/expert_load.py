"""How much each expert is used, as a streaming Keras metric."""

from __future__ import annotations

import tensorflow as tf


class ExpertLoad(tf.keras.metrics.Metric):
    """An expert's mean share of the gate, `|g_k| / sum_j |g_j|`; of a sparse gate, the share of gates that use it.

    Args:
        experts: K.
        sparse: whether the gate leaves experts out.
    """

    def __init__(self, experts: int, *, sparse: bool, name: str = "expert_load") -> None:
        super().__init__(name=name)
        self._sparse = sparse
        self.total = self.add_weight("total", [experts], initializer="zeros")
        self.gates = self.add_weight("gates", initializer="zeros")

    def update_state(self, gates: tf.Tensor) -> None:
        """Adds gates `[..., K]`."""
        gates = tf.abs(tf.cast(tf.reshape(gates, [-1, tf.shape(gates)[-1]]), tf.float32))
        if self._sparse:
            used = tf.cast(gates > 0, tf.float32)
        else:
            used = tf.math.divide_no_nan(gates, tf.reduce_sum(gates, axis=-1, keepdims=True))
        self.total.assign_add(tf.reduce_sum(used, axis=0))
        self.gates.assign_add(tf.cast(tf.shape(gates)[0], tf.float32))

    def result(self) -> tf.Tensor:
        """The means so far `[K]`; 0 before any gate."""
        return tf.math.divide_no_nan(self.total, self.gates)

    def reset_state(self) -> None:
        """Keras's own takes every variable for a scalar."""
        for variable in self.variables:
            variable.assign(tf.zeros_like(variable))
