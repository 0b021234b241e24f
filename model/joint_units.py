"""Several units on the same pairs of a behaviour and the session's query, as one computation."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import tensorflow as tf

from model.activation_unit import ActivationUnit
from model.flat_layers import flat_layers


def joint_units(units: Sequence[ActivationUnit], keys: tf.Tensor, query: tf.Tensor) -> list[tf.Tensor]:
    """What each unit gives of every key and the query: `[B, T, outputs]` each.

    Side by side, `relu([k ; k * q] W + q Wb + b)` has one matrix product for all, and so have the layers above it,
    whose kernels stand on a diagonal of blocks: wide products use the machine better than narrow ones, and `k * q`
    is made once.

    Args:
        units: with as many hidden layers each.
        keys: `[B, T, D]`.
        query: `[B, D]`.
    """
    for unit in units:
        with tf.name_scope(unit.name):
            unit.build(keys.shape)
    dtype = units[0].product_dtype

    def wide(kernels: Sequence[tf.Tensor]) -> tf.Tensor:
        return tf.cast(tf.concat(kernels, axis=-1), dtype)

    keys, query = tf.cast(keys, dtype), tf.cast(query, dtype)
    pairs = tf.concat([keys, keys * tf.expand_dims(query, 1)], axis=-1)
    kernel = wide([tf.concat([unit.key_layer.kernel, unit.product_layer.kernel], axis=0) for unit in units])
    hidden = flat_layers([lambda inputs: tf.matmul(inputs, kernel)], pairs)
    of_query = tf.matmul(query, wide([unit.query_layer.kernel for unit in units]))
    of_query += wide([unit.key_layer.bias for unit in units])
    hidden = tf.nn.relu(hidden + tf.expand_dims(of_query, 1))
    of_all = zip(*(unit.upper_layers for unit in units), strict=True)
    outputs = flat_layers([partial(_side_by_side, layers) for layers in of_all], hidden)
    return tf.split(tf.cast(outputs, tf.float32), [unit.upper_layers[-1].units for unit in units], axis=-1)


def _side_by_side(layers: Sequence[tf.keras.layers.Dense], inputs: tf.Tensor) -> tf.Tensor:
    """Dense layers, each of its own columns of the inputs."""
    width, before, rows = sum(layer.units for layer in layers), 0, []
    for layer in layers:
        rows.append(tf.pad(layer.kernel, [[0, 0], [before, width - before - layer.units]]))
        before += layer.units
    kernel, bias = tf.concat(rows, axis=0), tf.concat([layer.bias for layer in layers], axis=0)
    outputs = tf.matmul(inputs, tf.cast(kernel, inputs.dtype))
    return layers[0].activation(tf.nn.bias_add(outputs, tf.cast(bias, inputs.dtype)))
