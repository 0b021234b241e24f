"""Numbers about a candidate and the user's behaviours together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import tensorflow as tf

from pipeline.features import Features


class CrossFeatures(tf.keras.layers.Layer):
    """Cross features of every candidate, `[B, N, C]`, in the order of declaration.

    kind `match`: over the behaviours with the candidate's value of the field,
    `log(1 + count)`, and of the latest one its recency, `1 / (1 + log(1 + age in days))`, and
    `1 / place`, 1 for the user's very last behaviour: within a day ages hardly differ, places do.
    All are 0 where none has it. Values are compared by 64-bit fingerprint, so those outside the
    vocabulary match too, and a missing value matches nothing.

    kind `ratio`: `log(1 + x)` of the candidate minus its mean over the behaviours; 0 where
    either is missing.
    """

    def __init__(self, features: Features) -> None:
        super().__init__(name="cross_features")
        self._crosses = tuple(features.cross.values())

    def call(self, encoded: Mapping[str, tf.Tensor], mask: tf.Tensor) -> tf.Tensor:
        """Cross features of `encoded`; `mask` `[B, T]` tells the real behaviours."""
        matched = [cross.field for cross in self._crosses if cross.kind == "match"]
        matches = iter(tf.unstack(_matches(encoded, matched, mask), num=len(matched))) if matched else iter([])
        numbers = [
            next(matches) if cross.kind == "match" else _ratio(encoded, cross.field, mask)[..., tf.newaxis]
            for cross in self._crosses
        ]
        return tf.concat(numbers, axis=-1)


def _matches(encoded: Mapping[str, tf.Tensor], fields: Sequence[str], mask: tf.Tensor) -> tf.Tensor:
    """`[F, B, N, 3]`, all fields as one computation."""
    behaviors = tf.stack([encoded[f"behavior_{field}/fingerprint"] for field in fields])[:, :, tf.newaxis]
    candidates = tf.stack([encoded[f"candidate_{field}/fingerprint"] for field in fields])[..., tf.newaxis]
    usable = mask[:, tf.newaxis] & (behaviors != 0)
    same = tf.cast((candidates == behaviors) & usable, tf.float32)
    log_age = encoded["behavior_age_days/log"]
    recency = tf.where(log_age < 0, 0.0, 1 / (1 + tf.maximum(log_age, 0.0)))
    place = tf.cast(tf.range(1, tf.shape(mask)[1] + 1), tf.float32)  # behaviours are newest first
    numbers = [
        tf.math.log1p(tf.reduce_sum(same, axis=-1)),
        tf.reduce_max(same * recency[:, tf.newaxis], axis=-1),
        tf.reduce_max(same / place, axis=-1),
    ]
    return tf.stack(numbers, axis=-1)


def _ratio(encoded: Mapping[str, tf.Tensor], field: str, mask: tf.Tensor) -> tf.Tensor:
    """`[B, N]`."""
    behaviors, candidates = encoded[f"behavior_{field}/log"], encoded[f"candidate_{field}/log"]
    known = tf.cast(mask & (behaviors >= 0), tf.float32)
    count = tf.reduce_sum(known, axis=-1, keepdims=True)
    mean = tf.math.divide_no_nan(tf.reduce_sum(behaviors * known, axis=-1, keepdims=True), count)
    return tf.where((count > 0) & (candidates >= 0), candidates - mean, 0.0)
