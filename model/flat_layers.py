"""Layers over the last axis, as products of two matrices."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf


def flat_layers(layers: Sequence[Callable[[tf.Tensor], tf.Tensor]], inputs: tf.Tensor) -> tf.Tensor:
    """Applies layers one after the other: `[..., E]` to `[..., units of the last one]`.

    The other axes are one while they are applied: of two matrices TensorFlow computes product, bias and ReLU as one
    operation, where Keras's dense layer on more axes takes a dozen.
    """
    outputs = inputs if inputs.shape.rank == 2 else tf.reshape(inputs, [-1, inputs.shape[-1]])
    for layer in layers:
        outputs = layer(outputs)
    if inputs.shape.rank == 2:
        return outputs
    return tf.reshape(outputs, tf.concat([tf.shape(inputs)[:-1], [outputs.shape[-1]]], axis=0))
