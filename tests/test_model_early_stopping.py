"""A training ends when epochs are no better, at the same epoch with and without an interruption."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from experiment_data import experiment_scenario
from model.run_directory import load_run
from model.training.checkpoints import Progress
from model.training.train import train
from pipeline.errors import InputError
from pipeline.prepared_data import PreparedData
from stop_after import StopAfter
from tiny_data import write_tiny_data

#: It learns nothing, so the first epoch is the best.
STILL = {"dense_learning_rate": 1e-12, "table_learning_rate": 1e-12, "weight_decay": 0.0}
SCENARIO = experiment_scenario(
    training={"batch_size": 4, "epochs": 9, "shuffle_buffer": 64, "early_stopping": 2, "checkpoint_steps": 3, **STILL}
)
STEPS = 8


class Interrupt(StopAfter):
    """Stops when `fit` has ended, too."""

    def on_train_end(self, logs: Any = None) -> None:
        raise KeyboardInterrupt


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    return write_tiny_data(tmp_path_factory.mktemp("data"), SCENARIO, sessions=4 * STEPS)


def test_it_ends_after_so_many_epochs_that_are_no_better(data: PreparedData, tmp_path: Path) -> None:
    """Interrupted in the third epoch, which is the last, and once more when all that is left is to write the run."""
    directory, told = tmp_path / "run", list[str]()
    with pytest.raises(KeyboardInterrupt):
        train(SCENARIO, data, directory, verbose=0, callbacks=[Interrupt(2 * STEPS + 4)])
    with pytest.raises(KeyboardInterrupt):
        train(SCENARIO, data, directory, verbose=0, callbacks=[Interrupt(99)], tell=told.append)
    assert told == [f"{directory}: continues at epoch 3 of 9, after step 3 of 8"]
    told.clear()
    history = train(SCENARIO, data, directory, verbose=0, tell=told.append)
    assert told == [
        f"{directory}: all epochs were trained; what is left is written",
        "ended early: epoch 1 was better than the 2 after it",
    ]
    assert len(history["val_session_auc"]) == 3
    marker = json.loads((directory / "run.json").read_text())
    assert (marker["best_epoch"], marker["epochs"]) == (1, 3)
    assert marker["metrics"] == {name: values[0] for name, values in history.items()}
    load_run(directory)


def test_an_epoch_counts_from_the_best() -> None:
    assert not Progress(epoch=9, best_epoch=0).stops_early(None)
    assert not Progress(epoch=4, best_epoch=3).stops_early(2)
    assert Progress(epoch=5, best_epoch=3).stops_early(2)
    assert not Progress(epoch=5, best_epoch=0).stops_early(2), "the best epoch's weights were damaged: none is known"


def test_without_a_validation_part_it_is_refused(tmp_path: Path) -> None:
    data = write_tiny_data(tmp_path / "data", SCENARIO, sessions=8)
    data.manifest["parts"]["validation"] = {"sessions": 0, "days": {}}
    with pytest.raises(InputError, match=r"training.early_stopping: goes by the validation part, and .*/data has no"):
        train(SCENARIO, data, tmp_path / "run", verbose=0)
    assert not (tmp_path / "run").exists()
