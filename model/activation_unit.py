"""The FFN on a pair of behaviour and query: activation unit and gate unit."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import tensorflow as tf

from model.dense import dense
from model.flat_layers import flat_layers

#: Sessions scored at the same time where TensorFlow runs operations side by side; each holds its pairs in memory.
_SESSIONS_AT_ONCE = 4


class ActivationUnit(tf.keras.layers.Layer):
    """FFN on `[k, q, k - q, k * q]` of every key `k` and query `q`; eq. 3, 7 and 8.

    Its first layer is linear in those four parts, so it is the same function as

        relu(k Wa + q Wb + (k * q) Wc + b)          all pairs of a batch together
        relu(k (Wa + diag(q) Wc) + q Wb + b)        session by session

    In the first form only the product of `k * q` is per pair: the other two are computed once a key and
    once a query, and the concatenation is never made. In the second a session's keys are multiplied
    with one matrix, its queries' `Wa + diag(q) Wc` side by side, and `k * q` is not made either: of many
    behaviours it is faster, and what it holds in memory does not grow with the batch.

    Args:
        hidden_layers: hidden units; each followed by ReLU.
        outputs: numbers a pair; 1 for an activation unit, K for the gate unit.
        start: what every output is close to at first; default: random, of either sign.

    Attributes:
        by_session: whether several queries a session are computed in the second form, which needs built
            layers; slower to train.
        product_dtype: what the layers are computed in; weights and outputs are float32.
    """

    def __init__(
        self,
        hidden_layers: Sequence[int],
        outputs: int,
        *,
        name: str,
        start: float | None = None,
    ) -> None:
        super().__init__(name=name, autocast=False)
        self.by_session = False
        self.product_dtype = tf.float32
        first, *rest = hidden_layers
        self.key_layer = tf.keras.layers.Dense(first, name="key")
        self.query_layer = tf.keras.layers.Dense(first, use_bias=False, name="query")
        self.product_layer = tf.keras.layers.Dense(first, use_bias=False, name="product")
        self.upper_layers = [tf.keras.layers.Dense(units, activation="relu") for units in rest]
        initializers = {} if start is None else _near(start)
        self.upper_layers.append(tf.keras.layers.Dense(outputs, name="output", **initializers))

    def build(self, keys_shape: tf.TensorShape) -> None:
        """Makes the weights for keys and queries of as many numbers, unless they are there."""
        if self.key_layer.built:
            return
        size = self.key_layer.units
        sizes = dict.fromkeys((self.key_layer, self.query_layer, self.product_layer), keys_shape[-1])
        for layer in self.upper_layers:
            sizes[layer], size = size, layer.units
        for layer, inputs in sizes.items():
            with tf.name_scope(layer.name):  # which Keras sets where it builds a layer itself
                layer.build([None, inputs])

    def call(self, keys: tf.Tensor, queries: tf.Tensor) -> tf.Tensor:
        """Numbers of every pair.

        Args:
            keys: `[B, T, D]`.
            queries: `[B, D]`, or `[B, N, D]`.

        Returns:
            `[B, T, outputs]`, or `[B, T, N, outputs]`.
        """
        if queries.shape.rank == 2:
            return tf.squeeze(self._of_pairs(keys, tf.expand_dims(queries, 1)), axis=2)
        if not self.by_session:
            return self._of_pairs(keys, queries)
        # One query more, and away again: a product with no columns ends the process (oneDNN throws).
        numbers = tf.map_fn(
            lambda session: self._of_session(*session),
            (keys, tf.pad(queries, [[0, 0], [0, 1], [0, 0]])),
            fn_output_signature=tf.TensorSpec([None, None, self.upper_layers[-1].units]),
            parallel_iterations=_SESSIONS_AT_ONCE,
        )
        return numbers[:, :, :-1]

    def _of_pairs(self, keys: tf.Tensor, queries: tf.Tensor) -> tf.Tensor:
        """`[B, T, N, outputs]`."""
        keys, queries = tf.cast(keys, self.product_dtype), tf.cast(queries, self.product_dtype)
        # No `[:, tf.newaxis]`: its gradient copies.
        keys, queries = tf.expand_dims(keys, 2), tf.expand_dims(queries, 1)
        hidden = self._apply([self.product_layer], keys * queries) + self._apply([self.key_layer], keys)
        hidden = tf.nn.relu(hidden + self._apply([self.query_layer], queries))
        return tf.cast(self._apply(self.upper_layers, hidden), tf.float32)

    def _of_session(self, keys: tf.Tensor, queries: tf.Tensor) -> tf.Tensor:
        """`[T, N, outputs]` of `[T, D]` and `[N, D]`."""
        behaviors, count = tf.shape(keys)[0], tf.shape(queries)[0]
        size, units = self.key_layer.kernel.shape
        # Sum and product as one: of each of the D rows [N, 2] x [2, H], where broadcasting takes twice as long.
        of_queries = tf.transpose(queries)[..., tf.newaxis]
        factors = tf.concat([tf.ones_like(of_queries), of_queries], axis=-1)
        kernel = tf.matmul(factors, tf.stack([self.key_layer.kernel, self.product_layer.kernel], axis=1))
        kernel = tf.reshape(kernel, [size, count * units])
        bias = tf.reshape(self.query_layer(queries) + self.key_layer.bias, [count * units])
        if self.product_dtype == tf.float32:
            hidden = tf.nn.relu(self._linear(keys, kernel, bias))
        else:  # the bias as one more row: nothing is added to what is per pair
            keys = tf.concat([keys, tf.ones_like(keys[:, :1])], axis=-1)
            hidden = tf.nn.relu(self._linear(keys, tf.concat([kernel, bias[tf.newaxis]], axis=0), None))
        return tf.cast(self._apply(self.upper_layers, tf.reshape(hidden, [behaviors, count, units])), tf.float32)

    def _apply(self, layers: Sequence[tf.keras.layers.Dense], inputs: tf.Tensor) -> tf.Tensor:
        return flat_layers([partial(self._product, layer) for layer in layers], inputs)

    def _product(self, layer: tf.keras.layers.Dense, inputs: tf.Tensor) -> tf.Tensor:
        if not self.by_session or self.product_dtype == tf.float32:
            return dense(layer, inputs, self.product_dtype)
        return layer.activation(self._linear(inputs, layer.kernel, layer.bias if layer.use_bias else None))

    def _linear(self, inputs: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor | None) -> tf.Tensor:
        """`inputs kernel + bias` of two matrices, in `product_dtype`."""
        if self.product_dtype == tf.float32:
            outputs = tf.matmul(inputs, kernel)
        else:
            # Of three axes it is not fused with bias and ReLU: in bfloat16 the fused operation is the slower one.
            inputs, kernel = (tf.cast(matrix, self.product_dtype)[tf.newaxis] for matrix in (inputs, kernel))
            outputs = tf.matmul(inputs, kernel)[0]
        return outputs if bias is None else tf.nn.bias_add(outputs, tf.cast(bias, outputs.dtype))


def _near(start: float) -> dict[str, tf.keras.initializers.Initializer]:
    return {
        "kernel_initializer": tf.keras.initializers.RandomNormal(stddev=0.01),
        "bias_initializer": tf.keras.initializers.Constant(start),
    }
