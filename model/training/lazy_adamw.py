"""AdamW for embedding tables, which leaves alone the rows that a batch does not look up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf


class LazyAdamW(tf.keras.optimizers.Optimizer):
    """AdamW of the looked-up rows: moments, decay and values of all others stay as they are.

    Of a row with gradient `g`, looked up for the `t`-th time:

        m = beta_1 m + (1 - beta_1) g
        v = beta_2 v + (1 - beta_2) g^2
        row = row - rate decay row - rate sqrt(1 - beta_2^t) / (1 - beta_1^t) m / (sqrt(v) + epsilon)

    Keras's AdamW decays and moves every row at every step, which is a pass over the whole table. TensorFlow
    Addons' LazyAdam corrects the moments' bias by the steps of the training: a row first looked up at step
    1,000 then moves 2.5 times as far as one at the first step, on moments that are as new. Here `t` is the row's own,
    so a row's first step is the same whenever it comes, also in a table that an earlier training brought. When all
    rows are looked up at each step, this is Keras's AdamW.

    `apply_gradients` has summed the gradients of a row that was looked up several times before it calls
    `update_step`. A gradient that is not sparse looks up every row. A row whose gradient is 0 does not count as looked
    up: padding looks up row 0, and no loss depends on it.

    Args:
        learning_rate: a number or a schedule.
        row_decay: of the rows looked up, at each step times the learning rate.
        beta_1: of the first moment.
        beta_2: of the second.
        epsilon: keeps a small gradient's step finite.
        global_clipnorm: as of every optimizer of Keras.

    References: Loshchilov and Hutter, Decoupled Weight Decay Regularization, ICLR 2019; the lazy update is that of
    `tfa.optimizers.LazyAdam`.
    """

    def __init__(
        self,
        learning_rate: float | tf.keras.optimizers.schedules.LearningRateSchedule,
        *,
        row_decay: float = 0.0,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        global_clipnorm: float | None = None,
    ) -> None:
        # Keras's own `weight_decay` goes over whole tables; XLA would compile anew for each number of rows.
        super().__init__("lazy_adamw", weight_decay=None, global_clipnorm=global_clipnorm, jit_compile=False)
        self._learning_rate = self._build_learning_rate(learning_rate)
        self.row_decay, self.beta_1, self.beta_2, self.epsilon = row_decay, beta_1, beta_2, epsilon

    def build(self, var_list: Sequence[tf.Variable]) -> None:
        """Makes the moments and the counts of the tables' rows."""
        super().build(var_list)
        if getattr(self, "_built", False):
            return
        self._built = True
        self._momentums = [self.add_variable_from_reference(table, "m") for table in var_list]
        self._velocities = [self.add_variable_from_reference(table, "v") for table in var_list]
        # float32 counts exactly to 16 million, where the correction has long been 1
        shapes = [[table.shape[0], *[1] * (table.shape.rank - 1)] for table in var_list]
        self._counts = [
            self.add_variable_from_reference(table, "count", shape=shape)
            for table, shape in zip(var_list, shapes, strict=True)
        ]

    def update_step(self, gradient: tf.Tensor | tf.IndexedSlices, variable: tf.Variable) -> None:
        """Moves the rows of the gradient, each of which it has once."""
        if not isinstance(gradient, tf.IndexedSlices):
            gradient = tf.IndexedSlices(gradient, tf.range(tf.shape(gradient)[0]))
        rows, values = gradient.indices, gradient.values
        place = self._index_dict[self._var_key(variable)]
        rate = tf.cast(self.learning_rate, variable.dtype)
        moves = tf.reduce_any(values != 0, axis=tf.range(1, tf.rank(values)), keepdims=True)

        def of_rows(state: tf.Variable) -> tf.Tensor:
            return tf.gather(state, rows)

        def replace(state: tf.Variable, old: tf.Tensor, new: tf.Tensor) -> tf.Tensor:
            state.scatter_update(tf.IndexedSlices(tf.where(moves, new, old), rows))
            return new

        momentums, velocities, counts = self._momentums[place], self._velocities[place], self._counts[place]
        momentum, velocity, count = of_rows(momentums), of_rows(velocities), of_rows(counts)
        count = replace(counts, count, count + 1)
        momentum = replace(momentums, momentum, self.beta_1 * momentum + (1 - self.beta_1) * values)
        velocity = replace(velocities, velocity, self.beta_2 * velocity + (1 - self.beta_2) * tf.square(values))
        corrected = rate * tf.sqrt(1 - self.beta_2**count) / (1 - self.beta_1**count)
        change = corrected * momentum / (tf.sqrt(velocity) + self.epsilon)
        if self.row_decay:
            change += rate * self.row_decay * of_rows(variable)
        variable.scatter_sub(tf.IndexedSlices(tf.where(moves, change, 0.0), rows))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            "learning_rate": self._serialize_hyperparameter(self._learning_rate),
            "row_decay": self.row_decay,
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "epsilon": self.epsilon,
            "global_clipnorm": self.global_clipnorm,
        }
