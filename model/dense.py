"""A dense layer computed in a dtype of our choice."""

from __future__ import annotations

import tensorflow as tf


def dense(layer: tf.keras.layers.Dense, inputs: tf.Tensor, dtype: tf.DType = tf.float32) -> tf.Tensor:
    """`layer` on `[M, E]`, its product, bias and activation in `dtype`; the weights stay float32.

    Keras would cast the inputs back to the dtype that the layer was made with.
    """
    if dtype == tf.float32:
        return layer(inputs)
    outputs = tf.matmul(tf.cast(inputs, dtype), tf.cast(layer.kernel, dtype))
    if layer.use_bias:
        outputs = tf.nn.bias_add(outputs, tf.cast(layer.bias, dtype))
    return layer.activation(outputs)
