"""The sparse gate: the k largest entries of a gate, with noise in training."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from model.random_numbers import RandomNumbers
from pipeline import config


class SparseGate(NamedTuple):
    """A gate's weights `[..., K]`, 0 where an expert is not chosen.

    `chance` `[..., K]` is the probability of being chosen under another draw of the noise;
    None without noise.
    """

    weights: tf.Tensor
    chance: tf.Tensor | None


class TopKGate(tf.keras.layers.Layer):
    """Keeps the `experts.top_k` largest entries; in training noise decides along.

        h = gate + N(0, 1) noise,    chosen = the k largest of h

    With `normalize`, the weights are the softmax over the chosen; else the chosen entries of
    the gate as they are. Without `top_k` all experts are chosen.

    Args:
        experts: k, and how much noise.
        random_numbers: the model's.
        normalize: as above.

    Reference: Shazeer et al., The Sparsely-Gated Mixture-of-Experts Layer, ICLR 2017.
    """

    def __init__(self, experts: config.Experts, random_numbers: RandomNumbers, *, normalize: bool = False) -> None:
        super().__init__(name="top_k_gate")
        self._random = random_numbers
        self._top_k, self._noise, self._normalize = experts.top_k, experts.noise, normalize

    def call(self, gate: tf.Tensor, noise: tf.Tensor | None = None, training: bool = False) -> SparseGate:
        """Chooses the experts.

        Args:
            gate: `[..., K]`.
            noise: scale of the noise `[..., K]`, multiplied by `experts.noise`; default 1.
        """
        scale = self._noise * (tf.ones_like(gate) if noise is None else noise)
        noisy = gate + self._random.normal(tf.shape(gate)) * scale if training and self._noise else gate
        chance = None
        if self._top_k is None:
            chosen = tf.ones_like(gate, tf.bool)
        else:
            # One more than k tells what an expert must beat to be chosen.
            largest = tf.math.top_k(noisy, self._top_k + 1).values
            last_in, first_out = largest[..., self._top_k - 1 : self._top_k], largest[..., self._top_k :]
            chosen = self._exactly_k(noisy)
            if training and self._noise:
                threshold = tf.where(chosen, first_out, last_in)
                chance = _normal_cdf((gate - threshold) / (scale + 1e-6))
        if not self._normalize:
            return SparseGate(tf.where(chosen, gate, 0.0), chance)
        return SparseGate(tf.nn.softmax(tf.where(chosen, noisy, noisy.dtype.min), axis=-1), chance)

    def _exactly_k(self, noisy: tf.Tensor) -> tf.Tensor:
        """Which are the k largest; of equal ones the first."""
        indices = tf.math.top_k(noisy, self._top_k).indices
        return tf.reduce_any(tf.one_hot(indices, noisy.shape[-1], on_value=True, off_value=False), axis=-2)


def _normal_cdf(values: tf.Tensor) -> tf.Tensor:
    return 0.5 * (1 + tf.math.erf(values / 2**0.5))
