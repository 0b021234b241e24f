"""The FFN on a pair of behaviour and query: activation unit and gate unit."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf


class ActivationUnit(tf.keras.layers.Layer):
    """FFN on `[k, q, k - q, k * q]` of every key `k` and query `q`; eq. 3, 7 and 8.

    Its first layer is linear in those four parts, so it is the same function as

        relu(k Wa + q Wb + (k * q) Wc + b)

    where only the last product is per pair: the first two are computed once a key and once
    a query, and the concatenation is never made.

    Args:
        hidden_layers: hidden units; each followed by ReLU.
        outputs: numbers a pair; 1 for an activation unit, K for the gate unit.
        start: what every output is close to at first; default: random, of either sign.

    Attributes:
        product_dtype: what the layers are computed in; inputs, weights and outputs are float32.
    """

    def __init__(
        self,
        hidden_layers: Sequence[int],
        outputs: int,
        *,
        name: str,
        start: float | None = None,
    ) -> None:
        super().__init__(name=name)
        self.product_dtype = tf.float32
        first, *rest = hidden_layers
        self.key_layer = tf.keras.layers.Dense(first, name="key")
        self.query_layer = tf.keras.layers.Dense(first, use_bias=False, name="query")
        self.product_layer = tf.keras.layers.Dense(first, use_bias=False, name="product")
        self.upper_layers = [tf.keras.layers.Dense(units, activation="relu") for units in rest]
        initializers = {} if start is None else _near(start)
        self.upper_layers.append(tf.keras.layers.Dense(outputs, name="output", **initializers))

    def call(self, keys: tf.Tensor, queries: tf.Tensor) -> tf.Tensor:
        """Numbers of every pair.

        Args:
            keys: `[B, T, D]`.
            queries: `[B, D]`, or `[B, N, D]`.

        Returns:
            `[B, T, outputs]`, or `[B, N, T, outputs]`.
        """
        if queries.shape.rank == 3:
            keys = keys[:, tf.newaxis]
        queries = queries[..., tf.newaxis, :]
        hidden = self._apply(self.key_layer, keys) + self._apply(self.query_layer, queries)
        hidden = tf.nn.relu(hidden + self._apply(self.product_layer, keys * queries))
        for layer in self.upper_layers:
            hidden = self._apply(layer, hidden)
        return tf.cast(hidden, tf.float32)

    def _apply(self, layer: tf.keras.layers.Dense, inputs: tf.Tensor) -> tf.Tensor:
        if self.product_dtype == tf.float32:
            return layer(inputs)
        # Keras would cast the inputs back to the dtype that the layer was made with.
        dtype = self.product_dtype
        outputs = tf.tensordot(tf.cast(inputs, dtype), tf.cast(layer.kernel, dtype), axes=1)
        if layer.use_bias:
            outputs += tf.cast(layer.bias, dtype)
        return layer.activation(outputs)


def _near(start: float) -> dict[str, tf.keras.initializers.Initializer]:
    return {
        "kernel_initializer": tf.keras.initializers.RandomNormal(stddev=0.01),
        "bias_initializer": tf.keras.initializers.Constant(start),
    }
