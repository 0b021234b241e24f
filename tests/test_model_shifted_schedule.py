"""A schedule that begins at a later step."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from model.training.shifted_schedule import ShiftedSchedule


def test_it_is_the_schedule_from_its_first_step_on() -> None:
    cosine = tf.keras.optimizers.schedules.CosineDecay(0.1, 10)
    # far beyond where float32 counts
    first = 2**40
    shifted = ShiftedSchedule(cosine, first)
    for step in range(12):
        assert float(shifted(tf.constant(first + step, tf.int64))) == float(cosine(step))
    # an optimizer computes it before its state is there
    assert float(shifted(tf.constant(0, tf.int64))) == np.float32(0.1)
