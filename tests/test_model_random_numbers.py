"""The random numbers of training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf

from model.random_numbers import RandomNumbers
from model.run_directory import new_run
from tiny_data import tiny_scenario, write_tiny_data


def test_the_seed_decides_and_every_call_draws_anew() -> None:
    def drawn(seed: int) -> np.ndarray:
        numbers = RandomNumbers(seed)
        draw = tf.function(lambda: numbers.uniform([1000]))
        return np.stack([draw().numpy() for _ in range(3)])

    np.testing.assert_array_equal(drawn(1), drawn(1))
    assert len({row[0] for row in (*drawn(1), *drawn(2))}) == 6
    assert 0 <= drawn(1).min() < 0.01
    assert 0.99 < drawn(1).max() < 1


def test_kinds() -> None:
    numbers = RandomNumbers(0)
    assert set(numbers.integers([200, 2], 1, 4).numpy().ravel()) == {1, 2, 3}
    normal = numbers.normal([50, 200]).numpy()
    np.testing.assert_allclose([normal.mean(), normal.std()], [0, 1], atol=0.05)


def test_a_checkpoint_of_the_generator_goes_on_with_the_numbers_that_come_next(tmp_path: Path) -> None:
    numbers, other = RandomNumbers(1), RandomNumbers(2)
    numbers.normal([3])
    path = tf.train.Checkpoint(generator=numbers.generator).write(str(tmp_path / "state"))
    expected = [numbers.uniform([4]), numbers.normal([4])]
    tf.train.Checkpoint(generator=other.generator).read(path).assert_consumed()
    np.testing.assert_array_equal([other.uniform([4]), other.normal([4])], expected)


def test_the_state_is_no_weight_and_is_not_saved_with_them(tmp_path: Path) -> None:
    scenario = tiny_scenario()
    model = new_run(scenario, write_tiny_data(tmp_path, scenario, sessions=4).assets(scenario.features)).model
    state = model.random_numbers.generator.state
    assert all(weight is not state for weight in model.variables)
    written = tf.train.load_checkpoint(tf.train.Checkpoint(model=model).write(str(tmp_path / "weights")))
    assert state.dtype not in written.get_variable_to_dtype_map().values()


def test_a_replica_of_a_strategy_draws() -> None:
    strategy = tf.distribute.MirroredStrategy(["/cpu:0"])
    with strategy.scope():
        numbers = RandomNumbers(1)
    first, second = (strategy.run(tf.function(lambda: numbers.uniform([4]))).numpy() for _ in range(2))
    assert (first != second).all()
