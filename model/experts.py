"""The experts, eq. 5, as one batched computation."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import tensorflow as tf


class Experts(tf.keras.layers.Layer):
    """Scores of K MLPs of one shape and separate weights: `s_k = E_k(v)`, eq. 5.

    The first layer is split: `v W = [v_u ; h_t] W_c + [h_q ; h_o] W_s`, whose second part is
    computed once a session, not once a candidate.

    Args:
        count: K.
        hidden_layers: hidden units, each followed by ReLU; a linear unit makes the score.
    """

    def __init__(self, count: int, hidden_layers: Sequence[int]) -> None:
        super().__init__(name="experts")
        self._count = count
        self._hidden_layers = tuple(hidden_layers)

    def build(self, input_shapes: tuple[tf.TensorShape, tf.TensorShape | None]) -> None:
        """Makes the kernels for `v`'s two parts."""
        candidates, session = input_shapes
        inputs = candidates[-1] + (session[-1] if session is not None else 0)
        sizes = [inputs, *self._hidden_layers, 1]
        # Keras would take the expert axis of one kernel [K, in, out] for a part of its fan.
        limits = [(6 / (fan_in + fan_out)) ** 0.5 for fan_in, fan_out in pairwise(sizes)]
        first = self._hidden_layers[0]
        self.candidate_kernel = self._kernel("candidate_kernel", candidates[-1], first, limits[0])
        if session is not None:
            self.session_kernel = self._kernel("session_kernel", session[-1], first, limits[0])
        self.upper_kernels = [
            self._kernel(f"kernel_{i}", sizes[i], sizes[i + 1], limits[i]) for i in range(1, len(limits))
        ]
        self.biases = [self.add_weight(f"bias_{i}", [self._count, 1, size]) for i, size in enumerate(sizes[1:])]

    def call(self, inputs: tuple[tf.Tensor, tf.Tensor | None]) -> tf.Tensor:
        """Scores `[B, N, K]` of `([v_u ; h_t] [B, N, C], [h_q ; h_o] [B, S] or None)`."""
        candidates, session = inputs
        batch, count = tf.shape(candidates)[0], tf.shape(candidates)[1]
        # [K, B*N, units] throughout: K matrix products, and no transpose between the layers.
        candidates = tf.reshape(candidates, [1, -1, candidates.shape[-1]])
        hidden = tf.matmul(candidates, self.candidate_kernel) + self.biases[0]
        if session is not None:
            hidden = tf.reshape(hidden, [self._count, batch, count, self._hidden_layers[0]])
            hidden += tf.matmul(session[tf.newaxis], self.session_kernel)[:, :, tf.newaxis]
            hidden = tf.reshape(hidden, [self._count, -1, self._hidden_layers[0]])
        for kernel, bias in zip(self.upper_kernels, self.biases[1:], strict=True):
            hidden = tf.matmul(tf.nn.relu(hidden), kernel) + bias
        return tf.transpose(tf.reshape(hidden, [self._count, batch, count]), [1, 2, 0])

    def _kernel(self, name: str, inputs: int, outputs: int, limit: float) -> tf.Variable:
        initializer = tf.keras.initializers.RandomUniform(-limit, limit)
        return self.add_weight(name, [self._count, inputs, outputs], initializer=initializer)
