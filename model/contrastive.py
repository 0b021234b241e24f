"""The contrastive loss on the gate, eq. 10."""

from __future__ import annotations

import tensorflow as tf

from model.global_mean import global_mean
from model.random_numbers import RandomNumbers
from pipeline import config

#: Sessions drawn a gate beyond `negatives`, since some may be of the same user.
_SPARE_DRAWS = 8


class Contrastive(tf.keras.layers.Layer):
    """Pulls a user's gate to that of changed behaviours, away from other users' gates.

        L_cl = -log( exp(g.g+ / t) / (exp(g.g+ / t) + sum_{i=1..l} exp(g.g-_i / t)) )      eq. 10

    It is computed as a log-softmax, hence finite as long as the dot products are. `t` is the
    temperature (paper: 1); with similarity `cosine` the gates are normalised first.

    Args:
        options: of the loss.
        random_numbers: the model's.
    """

    def __init__(self, options: config.Contrastive, random_numbers: RandomNumbers) -> None:
        super().__init__(name="contrastive")
        self._options, self._random = options, random_numbers

    def call(self, gates: tf.Tensor, positives: tf.Tensor, users: tf.Tensor) -> tf.Tensor:
        """The mean loss, a scalar; that of the global batch, `model/global_mean.py`.

        Args:
            gates: `[B, K]`.
            positives: `[B, K]`, the gates of the sessions' other views, `model/augmentation.py`.
            users: int64 `[B]`; a gate's negatives are of other users. Where the batch has fewer
                than `negatives`, those it has are used. Of several replicas each draws from its own part.
        """
        order = tf.argsort(self._random.uniform(tf.shape(users)))
        gates, positives, users = (tf.gather(tensor, order) for tensor in (gates, positives, users))
        if self._options.similarity == "cosine":
            gates, positives = tf.math.l2_normalize(gates, axis=-1), tf.math.l2_normalize(positives, axis=-1)
        drawn, valid = self._draw(users)
        similar = tf.reduce_sum(gates * positives, axis=-1, keepdims=True)
        different = tf.reduce_sum(tf.expand_dims(gates, 1) * tf.gather(gates, drawn), axis=-1)
        # The lowest finite number, not -inf, whose gradient would be NaN.
        different = tf.where(valid, different / self._options.temperature, different.dtype.min)
        logits = tf.concat([similar / self._options.temperature, different], axis=-1)
        return -global_mean(tf.nn.log_softmax(logits, axis=-1)[:, 0])

    def _draw(self, users: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Positions of other sessions `[B, draws]`, and which to use: the first `negatives` of other users.

        Sessions are in random order, so the next ones are a random draw without repetition.
        """
        batch = tf.shape(users)[0]
        # A replica's part of the last batch may have no session.
        others = tf.maximum(batch - 1, 0)
        steps = tf.range(1, tf.minimum(self._options.negatives + _SPARE_DRAWS, others) + 1)
        drawn = (tf.range(batch)[:, tf.newaxis] + steps) % batch
        other = tf.gather(users, drawn) != users[:, tf.newaxis]
        return drawn, other & (tf.cumsum(tf.cast(other, tf.int32), axis=1) <= self._options.negatives)
