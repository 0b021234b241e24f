"""The MLP of eq. 2 and 6."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from model.flat_layers import flat_layers


class MLP(tf.keras.layers.Layer):
    """Dense ReLU layers over the last axis: `[..., E]` to `[..., layers[-1]]`."""

    def __init__(self, layers: Sequence[int], name: str) -> None:
        super().__init__(name=name)
        self.dense = [tf.keras.layers.Dense(units, activation="relu") for units in layers]

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """The last layer's output."""
        return flat_layers(self.dense, inputs)
