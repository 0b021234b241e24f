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

    Attributes:
        product_dtype: what the hidden layers are computed in; inputs, weights and scores are float32.
    """

    def __init__(self, count: int, hidden_layers: Sequence[int]) -> None:
        super().__init__(name="experts", autocast=False)
        self.product_dtype = tf.float32
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

    def call(
        self,
        inputs: tuple[tf.Tensor, tf.Tensor | None],
        chosen: tf.Tensor | None = None,
        training: bool = False,
    ) -> tf.Tensor:
        """Scores `[B, N, K]`.

        Args:
            inputs: `[v_u ; h_t]` `[B, N, C]`, and `[h_q ; h_o]` `[B, S]` or None.
            chosen: int32 `[B, k]`, the experts that a session uses; only these are computed, the
                others' scores are 0. Default: all.
            training: whether gradients will be taken.
        """
        candidates, session = inputs
        if chosen is None:
            scores = self._scores(
                tf.expand_dims(candidates, 0), None if session is None else tf.expand_dims(session, 0)
            )
            return tf.stack(tf.unstack(scores, num=self._count), axis=-1)
        return self._chosen_scores(candidates, session, chosen, training)

    def _chosen_scores(
        self, candidates: tf.Tensor, session: tf.Tensor | None, chosen: tf.Tensor, training: bool
    ) -> tf.Tensor:
        """Sends every session to its experts, each of which gets as many places as the most wanted needs."""
        batch, k = tf.shape(chosen)[0], chosen.shape[1]
        pairs = tf.reshape(chosen, [-1])
        # Experts that no session uses have no part, but in training all have: their kernels get gradients.
        used = tf.range(self._count)
        if not training:
            used, pairs = tf.unique(pairs)
        experts = tf.shape(used)[0]
        order = tf.argsort(pairs, stable=True)
        # no `bincount`, of which a GPU has no deterministic kernel
        sizes = tf.reduce_sum(tf.one_hot(pairs, experts, dtype=tf.int32), axis=0)
        places = tf.reduce_max(sizes)
        of_expert = tf.gather(pairs, order)
        slot = of_expert * places + tf.range(batch * k) - tf.gather(tf.cumsum(sizes, exclusive=True), of_expert)
        # Which session sits in a place; an empty place takes session 0, and nobody reads its score.
        sitting = tf.scatter_nd(slot[:, tf.newaxis], order // k, [experts * places])

        def seated(tensor: tf.Tensor) -> tf.Tensor:
            shape = tf.concat([[experts, places], tf.shape(tensor)[1:]], axis=0)
            return tf.reshape(tf.gather(tensor, sitting), shape)

        scores = self._scores(
            seated(candidates), None if session is None else seated(session), None if training else used
        )
        count = tf.shape(candidates)[1]
        slot_of_pair = tf.scatter_nd(order[:, tf.newaxis], slot, [batch * k])
        scores = tf.reshape(tf.gather(tf.reshape(scores, [-1, count]), slot_of_pair), [batch, k, count])
        # To [B, N, K] by a product with who chose what: no scatter, whose gradient is slow.
        return tf.einsum("bkn,bke->bne", scores, tf.one_hot(chosen, self._count))

    def _scores(self, candidates: tf.Tensor, session: tf.Tensor | None, used: tf.Tensor | None = None) -> tf.Tensor:
        """Scores `[K, B, N]` of `[K, B, N, C]` and `[K, B, S]`, or of one input for all experts.

        `used` gives the experts' numbers where they are not all.
        """

        def weights(variable: tf.Variable, dtype: tf.DType = self.product_dtype) -> tf.Tensor:
            return tf.cast(variable if used is None else tf.gather(variable, used), dtype)

        experts = self._count if used is None else tf.shape(used)[0]
        batch, count = tf.shape(candidates)[1], tf.shape(candidates)[2]
        # [K, B*N, units] throughout: K matrix products, and no transpose between the layers.
        flat = tf.reshape(candidates, [tf.shape(candidates)[0], -1, candidates.shape[-1]])
        hidden = tf.matmul(tf.cast(flat, self.product_dtype), weights(self.candidate_kernel))
        if session is None:
            hidden += weights(self.biases[0])
        else:
            hidden = tf.reshape(hidden, [experts, batch, count, self._hidden_layers[0]])
            of_session = tf.matmul(tf.cast(session, self.product_dtype), weights(self.session_kernel))
            hidden += tf.expand_dims(of_session + weights(self.biases[0]), 2)
            hidden = tf.reshape(hidden, [experts, -1, self._hidden_layers[0]])
        *between, last = zip(self.upper_kernels, self.biases[1:], strict=True)
        for kernel, bias in between:
            hidden = tf.matmul(tf.nn.relu(hidden), weights(kernel)) + weights(bias)
        # The score in float32: around 23, bfloat16 has only multiples of 1/8, and candidates would tie.
        kernel, bias = (weights(variable, tf.float32) for variable in last)
        scores = tf.matmul(tf.cast(tf.nn.relu(hidden), tf.float32), kernel) + bias
        return tf.reshape(scores, [experts, batch, count])

    def _kernel(self, name: str, inputs: int, outputs: int, limit: float) -> tf.Variable:
        initializer = tf.keras.initializers.RandomUniform(-limit, limit)
        return self.add_weight(name, [self._count, inputs, outputs], initializer=initializer)
