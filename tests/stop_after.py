"""A training that is stopped on the way."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


class StopAfter(tf.keras.callbacks.Callback):
    """Stops `fit` after so many steps, as suddenly as Ctrl-C."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self._left = steps

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._left -= 1
        if not self._left:
            raise KeyboardInterrupt
