"""AdamW in one operation a weight, beside Keras's."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from model.training.fused_adamw import FusedAdamW

SHAPES: tuple[list[int], ...] = ([3, 4], [5], [])


def trained(optimizer: tf.keras.optimizers.Optimizer, steps: int = 20) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    variables = [tf.Variable(rng.normal(size=shape), dtype=tf.float32) for shape in SHAPES]
    optimizer.build(variables)

    @tf.function
    def step(gradients: list[tf.Tensor]) -> None:
        optimizer.apply_gradients(zip(gradients, variables, strict=True))

    for _ in range(steps):
        step([tf.constant(rng.normal(size=shape), tf.float32) for shape in SHAPES])
    return [variable.numpy() for variable in variables]


def test_gives_what_keras_gives_with_schedule_decay_and_clipping() -> None:
    def options() -> dict[str, object]:
        rate = tf.keras.optimizers.schedules.CosineDecay(0.1, 25)
        return {"learning_rate": rate, "weight_decay": 0.05, "global_clipnorm": 1.5, "jit_compile": False}

    for ours, keras in zip(
        trained(FusedAdamW(**options())), trained(tf.keras.optimizers.AdamW(**options())), strict=True
    ):
        np.testing.assert_allclose(ours, keras, rtol=0, atol=1e-5)


def test_a_step_has_one_update_operation_a_weight() -> None:
    optimizer = FusedAdamW(0.1, weight_decay=0.05, jit_compile=False)
    variables = [tf.Variable(tf.ones(shape)) for shape in SHAPES]
    optimizer.build(variables)

    @tf.function
    def step() -> None:
        optimizer.apply_gradients([(tf.ones(shape), v) for shape, v in zip(SHAPES, variables, strict=True)])

    operations = [node.type for node in step.get_concrete_function().graph.get_operations()]
    assert operations.count("ResourceApplyAdam") == len(SHAPES), operations
