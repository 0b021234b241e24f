"""AdamW of the looked-up rows, against a slow NumPy version and Keras's AdamW."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from model.training.lazy_adamw import LazyAdamW

RATE, DECAY, BETA_1, BETA_2, EPSILON = 0.01, 0.1, 0.9, 0.999, 1e-7


def sparse(rows: np.ndarray, values: np.ndarray, size: int) -> tf.IndexedSlices:
    return tf.IndexedSlices(tf.constant(values), tf.constant(rows, tf.int32), dense_shape=[size, values.shape[1]])


def random_lookups(rng: np.random.Generator, rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows with repetitions, and their gradients."""
    looked_up = rng.integers(0, rows, rng.integers(1, 2 * rows))
    return looked_up, rng.normal(size=(len(looked_up), columns)).astype(np.float32)


def test_it_is_the_slow_version_row_by_row_and_leaves_the_other_rows_alone() -> None:
    rng = np.random.default_rng(3)
    start = rng.normal(size=(9, 2)).astype(np.float32)
    table, expected = tf.Variable(start), start.astype(np.float64)
    moments, steps = np.zeros((2, 9, 2)), np.zeros(9, int)
    optimizer = LazyAdamW(RATE, row_decay=DECAY)
    for _ in range(12):
        looked_up, gradients = random_lookups(rng, 6, 2)  # the last three rows never
        before = table.numpy()
        optimizer.apply_gradients([(sparse(looked_up, gradients, 9), table)])
        for row in set(looked_up.tolist()):
            gradient = gradients[looked_up == row].astype(np.float64).sum(axis=0)
            steps[row] += 1
            moments[0, row] = BETA_1 * moments[0, row] + (1 - BETA_1) * gradient
            moments[1, row] = BETA_2 * moments[1, row] + (1 - BETA_2) * gradient**2
            rate = RATE * np.sqrt(1 - BETA_2 ** steps[row]) / (1 - BETA_1 ** steps[row])
            expected[row] -= RATE * DECAY * expected[row]
            expected[row] -= rate * moments[0, row] / (np.sqrt(moments[1, row]) + EPSILON)
        np.testing.assert_allclose(table.numpy(), expected, rtol=1e-5, atol=1e-6)
        others = [row for row in range(9) if row not in looked_up]
        np.testing.assert_array_equal(table.numpy()[others], before[others])
    assert steps[:6].all()
    np.testing.assert_array_equal(table.numpy()[6:], start[6:])


@pytest.mark.parametrize("as_sparse", [True, False])
def test_it_is_kerass_adamw_when_every_row_is_looked_up_at_each_step(as_sparse: bool) -> None:
    rng = np.random.default_rng(4)
    start = rng.normal(size=(5, 3)).astype(np.float32)
    lazy, dense = tf.Variable(start), tf.Variable(start)
    ours = LazyAdamW(RATE, row_decay=DECAY, global_clipnorm=1.0)
    theirs = tf.keras.optimizers.AdamW(RATE, weight_decay=DECAY, global_clipnorm=1.0, jit_compile=False)
    for _ in range(20):
        gradient = rng.normal(size=(5, 3)).astype(np.float32)
        order = rng.permutation(5)
        ours.apply_gradients([(sparse(order, gradient[order], 5) if as_sparse else tf.constant(gradient), lazy)])
        theirs.apply_gradients([(tf.constant(gradient), dense)])
    np.testing.assert_allclose(lazy.numpy(), dense.numpy(), rtol=1e-5, atol=1e-6)
    assert not np.allclose(lazy.numpy(), start, atol=0.05)


def test_a_rows_first_step_is_the_same_whenever_it_comes() -> None:
    table, optimizer = tf.Variable(tf.zeros([2, 1])), LazyAdamW(RATE)
    one = np.ones((1, 1), np.float32)
    for _ in range(50):
        optimizer.apply_gradients([(sparse(np.array([0]), one, 2), table)])
    optimizer.apply_gradients([(sparse(np.array([1]), one, 2), table)])
    np.testing.assert_allclose(table.numpy()[1], [-RATE], rtol=1e-4)


def test_padding_which_has_no_gradient_changes_nothing() -> None:
    rng = np.random.default_rng(5)
    start = rng.normal(size=(4, 2)).astype(np.float32)
    tables = tf.Variable(start), tf.Variable(start)
    optimizers = LazyAdamW(RATE, row_decay=DECAY), LazyAdamW(RATE, row_decay=DECAY)
    for step in range(9):
        looked_up, gradients = random_lookups(rng, 4, 2)
        if step % 3:  # only padding looks up row 0
            looked_up, gradients = looked_up[looked_up > 0], gradients[looked_up > 0]
        padded = np.append(looked_up, [0] * step), np.append(gradients, np.zeros((step, 2), np.float32), axis=0)
        for optimizer, table, lookups in zip(optimizers, tables, ((looked_up, gradients), padded), strict=True):
            optimizer.apply_gradients([(sparse(*lookups, 4), table)])
    np.testing.assert_array_equal(tables[0].numpy(), tables[1].numpy())
    assert (tables[0].numpy()[0] != start[0]).all()


def as_large_as_the_table(optimizer: tf.keras.optimizers.Optimizer) -> list[str]:
    """Outputs of a step's operations that have as many rows as the table."""
    rows = 4321
    table = tf.Variable(tf.zeros([rows, 3]))
    optimizer.build([table])

    @tf.function
    def step() -> None:
        gradient = tf.IndexedSlices(tf.ones([4, 3]), tf.constant([7, 7, 8, 9]), dense_shape=[rows, 3])
        optimizer.apply_gradients([(gradient, table)])

    operations = step.get_concrete_function().graph.get_operations()
    outputs = [output for operation in operations for output in operation.outputs]
    return [output.name for output in outputs if output.shape.rank and output.shape[0] == rows]


def test_no_operation_of_a_step_goes_over_the_table() -> None:
    clip = {"global_clipnorm": 1.0, "jit_compile": False}
    assert as_large_as_the_table(tf.keras.optimizers.AdamW(RATE, **clip)), "else this looks at the wrong thing"
    assert not as_large_as_the_table(tf.keras.optimizers.Adagrad(RATE, **clip))
    assert not as_large_as_the_table(LazyAdamW(RATE, row_decay=DECAY, global_clipnorm=1.0))


def test_its_configuration_makes_it_again() -> None:
    made = LazyAdamW(0.5, row_decay=0.2, beta_1=0.8, beta_2=0.9, epsilon=1e-3, global_clipnorm=2.0)
    assert LazyAdamW(**made.get_config()).get_config() == made.get_config()
