"""Category-MoE's gate network."""

from __future__ import annotations

import tensorflow as tf


class CategoryGate(tf.keras.layers.Layer):
    """Gate logits from a category's embedding `x`, and the scale of their noise.

        logits = x W,   noise = softplus(x W_noise)

    `TopKGate` adds the noise in training, takes the k largest and their softmax.

    Args:
        experts: K.
        noise: whether there is noise.
    """

    def __init__(self, experts: int, *, noise: bool = False, name: str = "category_gate") -> None:
        super().__init__(name=name)
        self.linear = tf.keras.layers.Dense(experts, use_bias=False, name="linear")
        self.noise = None
        if noise:
            self.noise = tf.keras.layers.Dense(experts, use_bias=False, activation="softplus", name="noise")

    def call(self, category: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor | None]:
        """Logits and noise scales `[..., K]` of embeddings `[..., E]`; without noise, None."""
        return self.linear(category), self.noise(category) if self.noise else None
