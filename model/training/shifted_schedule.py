"""A learning-rate schedule that begins at a later step."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


class ShiftedSchedule(tf.keras.optimizers.schedules.LearningRateSchedule):
    """A schedule whose step 0 is the optimizer's step `first`.

    An optimizer whose state comes from an earlier training goes on counting, since the count belongs to the moments;
    the schedule of the new training begins anew.

    Args:
        schedule: from step 0 on.
        first: the optimizer's step at which it begins.
    """

    def __init__(self, schedule: tf.keras.optimizers.schedules.LearningRateSchedule, first: int) -> None:
        super().__init__()
        self._schedule, self._first = schedule, first

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        """The learning rate at a step of the optimizer."""
        return self._schedule(tf.maximum(tf.cast(step, tf.int64) - self._first, 0))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"schedule": self._schedule, "first": self._first}
