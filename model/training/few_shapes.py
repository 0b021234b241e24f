"""Batches padded to few shapes, for XLA, which compiles each shape anew."""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

from pipeline.features import Features, MultiCategorical


def few_shapes(encoded: Mapping[str, tf.Tensor], features: Features) -> dict[str, tf.Tensor]:
    """A batch of `session_dataset` with `T` and `N` padded to powers of 2, lists of values to their greatest length.

    What is text, and no input of the model, is left out, since XLA has none.
    """
    longest = {
        f.name: f.declaration.max_values for f in features.encoded if isinstance(f.declaration, MultiCategorical)
    }
    batch = {}
    for name, tensor in encoded.items():
        if tensor.dtype == tf.string:
            continue
        sizes = tf.unstack(tf.shape(tensor))
        if name.startswith(("behavior_", "candidate_")) and len(sizes) > 1:
            sizes[1] = _power_of_2(sizes[1])
        if name in longest:
            sizes[-1] = tf.constant(longest[name])
        padding = tf.stack(sizes) - tf.shape(tensor)
        batch[name] = tf.pad(tensor, tf.stack([tf.zeros_like(padding), padding], axis=1))
    return batch


def _power_of_2(size: tf.Tensor) -> tf.Tensor:
    """The least that is not below `size`."""
    powers = 2 ** tf.range(31)
    return tf.reduce_min(tf.boolean_mask(powers, powers >= size))
