"""The MLP of eq. 2 and 6."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import tensorflow as tf

from model.dense import dense
from model.flat_layers import flat_layers


class MLP(tf.keras.layers.Layer):
    """Dense ReLU layers over the last axis: `[..., E]` to `[..., layers[-1]]`.

    Attributes:
        product_dtype: what the layers are computed in, and give; weights are float32.
    """

    def __init__(self, layers: Sequence[int], name: str) -> None:
        super().__init__(name=name, autocast=False)
        self.product_dtype = tf.float32
        self.dense = [tf.keras.layers.Dense(units, activation="relu") for units in layers]

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """The last layer's output."""
        return flat_layers([partial(dense, layer, dtype=self.product_dtype) for layer in self.dense], inputs)
