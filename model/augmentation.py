"""Other views of a session's behaviours, for the contrastive loss."""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

from model.random_numbers import RandomNumbers
from pipeline import config

#: What `Preprocessing` makes of the behaviours' ages, the last two where they are needed.
_AGES = ("behavior_age_days", "behavior_age_days/missing", "behavior_age_days/log")


class Augmentation(tf.keras.layers.Layer):
    """Changes a session's behaviours at random; of several kinds, each session draws one.

    - `mask`: each behaviour is left out with `mask_probability` (eq. 10).
    - `crop`: a run of neighbours is kept, `crop_share` of the behaviours and at least one.
    - `reorder`: within a run of neighbours, `reorder_share` of the behaviours, items trade their
      places. A gate is a sum over behaviours, so a place is no more than the age that goes with it.

    The start behaviour is never left out.

    Args:
        options: which kinds, and how much they change.
        random_numbers: the model's.

    Reference: Xie et al., Contrastive Learning for Sequential Recommendation, ICDE 2022.
    """

    def __init__(self, options: config.Contrastive, random_numbers: RandomNumbers) -> None:
        super().__init__(name="augmentation")
        self._options, self._random = options, random_numbers

    @property
    def reorders(self) -> bool:
        """Whether behaviours trade places, for which the session is embedded again."""
        return "reorder" in self._options.augmentations

    def draw(self, sessions: tf.Tensor) -> tf.Tensor:
        """The number of the kind that each of so many sessions gets, `[B, 1]`."""
        return self._random.integers([sessions, 1], 0, len(self._options.augmentations))

    def leave_out(self, mask: tf.Tensor, drawn: tf.Tensor) -> tf.Tensor:
        """The mask `[B, T+1]` of the behaviours that stay, with the start behaviour in front."""
        kept = mask[:, 1:]
        for number, kind in enumerate(self._options.augmentations):
            if kind != "reorder":
                changed = self._masked(kept) if kind == "mask" else self._cropped(kept)
                kept = tf.where(drawn == number, changed, kept)
        return tf.concat([mask[:, :1], kept], axis=1)

    def reorder(self, encoded: Mapping[str, tf.Tensor], drawn: tf.Tensor) -> dict[str, tf.Tensor]:
        """Sessions with the ages of some neighbours permuted; all other inputs as they are."""
        count = encoded["behavior_count"][:, tf.newaxis]
        ages = encoded[_AGES[0]]
        position = tf.broadcast_to(tf.range(tf.shape(ages)[1], dtype=count.dtype), tf.shape(ages))
        first, length = self._run(count, self._options.reorder_share)
        within = (position >= first) & (position < first + length)
        within &= drawn == self._options.augmentations.index("reorder")
        # Sorted by a key that is the place itself, but random within the run: a permutation of the run.
        place = tf.cast(position, tf.float32)
        start = tf.cast(first, tf.float32)
        shuffled = start + self._random.uniform(tf.shape(ages)) * tf.cast(length, tf.float32)
        order = tf.argsort(tf.where(within, shuffled, tf.where(position < first, place, place + 0.5)), axis=1)
        moved = {name: tf.gather(encoded[name], order, batch_dims=1) for name in _AGES if name in encoded}
        return {**encoded, **moved}

    def _masked(self, kept: tf.Tensor) -> tf.Tensor:
        return kept * tf.cast(self._random.uniform(tf.shape(kept)) >= self._options.mask_probability, kept.dtype)

    def _cropped(self, kept: tf.Tensor) -> tf.Tensor:
        count = tf.reduce_sum(tf.cast(kept > 0, tf.int64), axis=1, keepdims=True)
        first, length = self._run(count, self._options.crop_share)
        position = tf.range(tf.shape(kept, tf.int64)[1])
        return kept * tf.cast((position >= first) & (position < first + length), kept.dtype)

    def _run(self, count: tf.Tensor, share: float) -> tuple[tf.Tensor, tf.Tensor]:
        """A random run of `share` of `count` `[B, 1]` neighbours, rounded up: its first place and length."""
        # A little less, because 0.6 * 25 in float32 is above 15.
        length = tf.cast(tf.math.ceil(share * tf.cast(count, tf.float32) - 1e-4), count.dtype)
        length = tf.minimum(count, tf.maximum(length, 1))
        free = tf.cast(count - length + 1, tf.float32)
        return tf.cast(self._random.uniform(tf.shape(count)) * free, count.dtype), length
