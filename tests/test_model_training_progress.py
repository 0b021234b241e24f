"""A training whose numbers are no longer finite stops, and keeps the last good checkpoint."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from experiment_data import experiment_scenario
from model.training.train import train
from pipeline.errors import InputError
from pipeline.prepared_data import PreparedData
from tiny_data import write_tiny_data

SCENARIO = experiment_scenario(
    training={"batch_size": 2, "epochs": 2, "shuffle_buffer": 64, "checkpoint_steps": 5},
)
STEPS = 20


@pytest.fixture
def data(tmp_path: Path) -> PreparedData:
    return write_tiny_data(tmp_path / "data", SCENARIO, sessions=2 * STEPS)


class Before(tf.keras.callbacks.Callback):
    """Does something to the model before a step of all epochs."""

    def __init__(self, step: int, change: Callable[[tf.keras.Model], object]) -> None:
        super().__init__()
        self._left, self._change = step, change

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self._left -= 1
        if not self._left:
            self._change(self.model)


def error_of_training(data: PreparedData, directory: Path, *callbacks: tf.keras.callbacks.Callback) -> str:
    with pytest.raises(InputError) as error:
        train(SCENARIO, data, directory, verbose=0, callbacks=callbacks, tell=lambda line: None)
    return str(error.value)


def checkpoints(directory: Path) -> set[str]:
    return {path.stem for path in (directory / "checkpoints").glob("step-*.index")}


def test_a_batch_whose_loss_is_not_finite_is_named(data: PreparedData, tmp_path: Path) -> None:
    (file, _) = data.files("train")
    records = list(tf.data.TFRecordDataset(file, "GZIP").as_numpy_iterator())
    example = tf.train.Example.FromString(records[0])
    example.features.feature["candidate_label"].float_list.value[0] = np.nan
    (name,) = example.features.feature["session_id"].bytes_list.value
    with tf.io.TFRecordWriter(file, options="GZIP") as writer:
        for record in (example.SerializeToString(), *records[1:]):
            writer.write(record)

    message = error_of_training(data, tmp_path / "run")
    found = re.search(r"no longer finite at epoch 1, step (\d+) \(a batch of 2 sessions: (.*?), \.\.\.\)", message)
    assert found, message
    assert name.decode() in found[2].split(", ")
    suspects = json.loads((tmp_path / "run/checkpoints/not_finite.json").read_text())
    assert suspects["epoch"] == 1
    assert suspects["sessions_of_steps"][found[1]] == found[2].split(", ")
    assert len(suspects["sessions_of_steps"]) == (1 if found[1] == "1" else 2)
    saved = (int(found[1]) - 1) // 5 * 5
    assert f"step-{saved}" in message if saved else "no checkpoint was saved before" in message
    assert error_of_training(data, tmp_path / "run") == message, "continued, it stops at another place"


def test_weights_that_are_not_finite_are_not_saved(data: PreparedData, tmp_path: Path) -> None:
    """A row that no batch looks up: no loss tells of it."""

    def spoil(model: tf.keras.Model) -> None:
        table = model.embedding.tables["category"]
        table.assign(tf.tensor_scatter_nd_update(table, [[table.shape[0] - 1]], [[np.nan] * table.shape[1]]))

    message = error_of_training(data, tmp_path / "run", Before(STEPS + 8, spoil))
    assert "`category:0` is no longer finite at epoch 2, step 10 (a batch of 2 sessions: train_" in message
    assert f"the last good checkpoint is {tmp_path}/run/checkpoints/step-25;" in message
    assert checkpoints(tmp_path / "run") == {"step-15", "step-20", "step-25"}


def test_after_an_epochs_last_step_nothing_is_saved_either(data: PreparedData, tmp_path: Path) -> None:
    def spoil(model: tf.keras.Model) -> None:
        bias = model.experts.biases[0]
        bias.assign(tf.fill(bias.shape, np.nan))

    message = error_of_training(data, tmp_path / "run", Before(STEPS, spoil))
    assert "the loss is no longer finite at epoch 1, step 20 (a batch of 2 sessions: train_" in message
    assert checkpoints(tmp_path / "run") == {"step-5", "step-10", "step-15"}
    assert not list((tmp_path / "run/checkpoints").glob("best-*"))
