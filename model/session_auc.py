"""Session AUC as a streaming Keras metric, for validation while training."""

from __future__ import annotations

import tensorflow as tf


class SessionAUC(tf.keras.metrics.Metric):
    """Mean AUC over sessions that have both classes; ties count one half.

    `model/session_metrics.py` computes the same from all scores at once, with the rest.
    """

    def __init__(self, name: str = "session_auc") -> None:
        super().__init__(name=name)
        self.total = self.add_weight("total", initializer="zeros")
        self.sessions = self.add_weight("sessions", initializer="zeros")

    def update_state(self, labels: tf.Tensor, scores: tf.Tensor, mask: tf.Tensor) -> None:
        """Adds a batch: labels 0 or 1, scores, and `mask` (true where real), all `[B, N]`."""
        positive = tf.cast(mask & (labels > 0.5), tf.float32)
        negative = tf.cast(mask & (labels <= 0.5), tf.float32)
        difference = scores[:, :, tf.newaxis] - scores[:, tf.newaxis, :]
        won = tf.cast(difference > 0, tf.float32) + 0.5 * tf.cast(difference == 0, tf.float32)
        won = tf.einsum("bp,bpn,bn->b", positive, won, negative)
        pairs = tf.reduce_sum(positive, axis=1) * tf.reduce_sum(negative, axis=1)
        self.total.assign_add(tf.reduce_sum(tf.math.divide_no_nan(won, pairs)))
        self.sessions.assign_add(tf.reduce_sum(tf.cast(pairs > 0, tf.float32)))

    def result(self) -> tf.Tensor:
        """The mean so far; 0 before any session with both classes."""
        return tf.math.divide_no_nan(self.total, self.sessions)
