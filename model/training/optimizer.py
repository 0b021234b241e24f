"""The optimizer: AdamW for dense weights, Adagrad or a lazy AdamW for embedding tables."""

from __future__ import annotations

import tensorflow as tf
import tensorflow_recommenders as tfrs

from model.ranker import Ranker
from model.training.fused_adamw import FusedAdamW
from model.training.lazy_adamw import LazyAdamW
from model.training.shifted_schedule import ShiftedSchedule
from pipeline import config
from pipeline.errors import InputError


def optimizer(
    model: Ranker, training: config.Training, steps: int | None = None, first_step: int = 0
) -> tfrs.experimental.optimizers.CompositeOptimizer:
    """A built model's optimizer.

    AdamW alone would decay, and so rewrite, every row of every table at each step; the tables'
    optimizers touch the rows that the batch looked up. Each part's gradients are clipped by their
    common norm.

    Args:
        model: whose weights are made.
        training: the scenario's section.
        steps: of the whole training, over which a schedule runs, its warm-up included; without it the learning
            rates stay constant.
        first_step: at which the schedule begins, where the state is to come from an earlier training.

    Raises:
        InputError: the warm-up is as long as the training.
    """
    if steps is not None and training.warmup_steps >= steps:
        raise InputError(
            f"training.warmup_steps: {training.warmup_steps:,} must be below the steps of the whole training, "
            f"{steps:,} here ({training.epochs} epochs); a twentieth of them is common"
        )

    def rate(initial: float) -> float | tf.keras.optimizers.schedules.LearningRateSchedule:
        schedules, warmup = tf.keras.optimizers.schedules, training.warmup_steps
        if steps is None:
            return initial
        if training.schedule == "cosine":
            schedule = schedules.CosineDecay(
                0.0 if warmup else initial,
                steps - warmup,
                warmup_target=initial if warmup else None,
                warmup_steps=warmup,
            )
        else:  # A number would be a variable, and a checkpoint bring the rate it was saved with.
            schedule = schedules.PolynomialDecay(0.0 if warmup else initial, warmup or 1, initial)
        return ShiftedSchedule(schedule, first_step)

    dense = FusedAdamW(
        rate(training.dense_learning_rate),
        weight_decay=training.weight_decay,
        global_clipnorm=training.clip_norm,
        jit_compile=False,
    )
    tables: tf.keras.optimizers.Optimizer
    if training.table_optimizer == "lazy_adamw":
        tables = LazyAdamW(
            rate(training.rate_of_tables),
            row_decay=training.table_weight_decay,
            global_clipnorm=training.clip_norm,
        )
    else:
        tables = tf.keras.optimizers.Adagrad(
            rate(training.rate_of_tables),
            initial_accumulator_value=training.table_initial_accumulator,
            global_clipnorm=training.clip_norm,
            jit_compile=False,
        )
    table_weights = model.embedding.trainable_variables
    in_tables = {weight.ref() for weight in table_weights}
    dense_weights = [weight for weight in model.trainable_variables if weight.ref() not in in_tables]
    # Made within the training step, they would have Keras trace it twice.
    dense.build(dense_weights)
    tables.build(table_weights)
    return tfrs.experimental.optimizers.CompositeOptimizer(
        [
            (dense, lambda: dense_weights),
            (tables, lambda: table_weights),
        ]
    )
