"""A training that is interrupted and continued gives what it would have given without."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import tensorflow as tf

from experiment_data import experiment_scenario
from model.run_directory import load_run, new_run
from model.training.checkpoints import Checkpoints
from model.training.optimizer import optimizer
from model.training.train import History, train
from model.weights_fingerprint import weights_fingerprint
from pipeline.config import Scenario
from pipeline.errors import InputError
from pipeline.prepared_data import PreparedData
from tiny_data import write_tiny_data

SESSIONS, BATCH, STEPS = 150, 8, 19


def scenario(**training: Any) -> Scenario:
    """With all that draws random numbers; an epoch is two windows of batches."""
    return experiment_scenario(
        model={
            "id_dropout": 0.2,
            "embedding_l2": 1e-4,
            "contrastive": {"augmentations": ["mask", "crop"], "mask_probability": 0.3},
            "experts": {
                "count": 4,
                "layers": [8],
                "top_k": 2,
                "noise": 0.5,
                "load_balance": 0.1,
                "adversarial": 0.1,
            },
        },
        training={"batch_size": BATCH, "epochs": 3, "shuffle_buffer": 64, "checkpoint_steps": 5, **training},
    )


SCENARIO = scenario()


class Interruption(Exception):  # noqa: N818
    """As sudden as a signal, for what runs in this process."""


class Interrupt(tf.keras.callbacks.Callback):
    """Interrupts after so many steps of the call, or when it ends; counts the steps, and those of each progress bar."""

    def __init__(self, after: int | None = None, at_end: bool = False) -> None:
        super().__init__()
        self.steps, self._after, self._at_end = 0, after, at_end
        self.bars: list[int] = []

    def on_train_begin(self, logs: Any = None) -> None:
        self.bars.append(self.params["steps"])

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if self.steps == self._after:
            raise Interruption

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.steps += 1

    def on_train_end(self, logs: Any = None) -> None:
        if self._at_end:
            raise Interruption


class Trained(NamedTuple):
    directory: Path
    history: History
    files: set[str]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    return write_tiny_data(tmp_path_factory.mktemp("data"), SCENARIO, sessions=SESSIONS)


@pytest.fixture(scope="module")
def whole(data: PreparedData, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Trained without an interruption."""
    directory = tmp_path_factory.mktemp("whole") / "run"
    history = train(SCENARIO, data, directory, verbose=0)
    return Trained(directory, history, files(directory))


@pytest.fixture(scope="module")
def interrupted(data: PreparedData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training that was interrupted after 12 steps of the second epoch."""
    directory = tmp_path_factory.mktemp("interrupted") / "run"
    with pytest.raises(Interruption):
        train(SCENARIO, data, directory, verbose=0, callbacks=[Interrupt(after=STEPS + 12)])
    return directory


@pytest.fixture
def begun(interrupted: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return shutil.copytree(interrupted, tmp_path / "run")


def continued(directory: Path, data: PreparedData, interrupt: Interrupt) -> list[str]:
    """What is told, for a training that must not start anew."""
    told: list[str] = []
    with suppress(Interruption):
        train(SCENARIO, data, directory, verbose=0, callbacks=[interrupt], tell=told.append)
    return told


def files(directory: Path) -> set[str]:
    """A run's, without those for TensorBoard that each process begins."""
    return {path.name for path in directory.rglob("*") if not path.name.startswith("events.out.tfevents.")}


def assert_equals(directory: Path, whole: Trained) -> None:
    """Bit for bit; the time it took is another."""
    assert files(directory) == whole.files
    for name in ("history.json", "scenario.yaml"):
        assert (directory / name).read_text() == (whole.directory / name).read_text()
    found, expected = (json.loads((each / "run.json").read_text()) for each in (directory, whole.directory))
    assert 0 < found.pop("seconds") < 300
    assert found == {name: value for name, value in expected.items() if name != "seconds"}
    assert weights_fingerprint(load_run(directory).model) == weights_fingerprint(load_run(whole.directory).model)


def test_interrupted_anywhere_it_gives_the_same_weights_and_history(
    begun: Path, whole: Trained, data: PreparedData
) -> None:
    """In the middle of an epoch, between two epochs, and when all that is left is to write the run."""
    with pytest.raises(InputError, match="its training did not finish"):
        load_run(begun)
    middle = Interrupt(after=STEPS - 10)
    assert continued(begun, data, middle) == [f"{begun}: continues at epoch 2 of 3, after step 10 of 19"]
    assert middle.steps == STEPS - 10
    assert middle.bars == [STEPS - 10, STEPS]
    last = Interrupt(at_end=True)
    assert continued(begun, data, last) == [f"{begun}: continues at epoch 3 of 3"]
    assert last.steps == STEPS
    assert last.bars == [STEPS]
    nothing = Interrupt()
    assert continued(begun, data, nothing) == [f"{begun}: all epochs were trained; what is left is written"]
    assert nothing.steps == 0
    assert_equals(begun, whole)
    assert json.loads((begun / "history.json").read_text()) == whole.history
    assert len(whole.history["val_session_auc"]) == 3


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-50])


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_broken_checkpoint_is_skipped_for_the_one_before(begun: Path, whole: Trained, data: PreparedData) -> None:
    kept = sorted(path.name for path in (begun / "checkpoints").glob("step-*.index"))
    assert kept == ["step-19.index", "step-24.index", "step-29.index"]
    truncate(begun / "checkpoints/step-29.data-00000-of-00001")
    flip_a_bit(begun / "checkpoints/step-24.data-00000-of-00001")
    (begun / "checkpoints/step-31.data-00000-of-00001").write_bytes(b"half-written: it has no index")
    newest, next_one, position = continued(begun, data, Interrupt(after=6))
    assert newest.startswith(f"warning: {begun}/checkpoints/step-29: is broken and set aside (")
    assert "checkpoints/step-24: is broken" in next_one
    assert position.endswith("continues at epoch 2 of 3")
    indices = sorted(path.stem for path in (begun / "checkpoints").glob("*step-*.index"))
    assert indices == ["broken-step-24", "broken-step-29", "step-19", "step-24"], "they are in nobody's way"
    assert continued(begun, data, Interrupt()) == [f"{begun}: continues at epoch 2 of 3, after step 5 of 19"]
    assert_equals(begun, whole)


def test_a_callback_may_end_it(begun: Path, data: PreparedData) -> None:
    class Stop(Interrupt):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            super().on_train_batch_end(batch, logs)
            self.model.stop_training = self.steps == 3

    stop = Stop()
    continued(begun, data, stop)
    assert stop.steps == 3
    facts = json.loads((begun / "run.json").read_text())
    assert facts["epochs"] == 2, "the epoch that was cut short is the last"
    load_run(begun)


def test_what_a_kill_within_a_save_leaves_is_in_nobodys_way(begun: Path, whole: Trained, data: PreparedData) -> None:
    for name in ("best-1_temp", "best-2_temp", "step-34_temp"):
        (begun / "checkpoints" / name).mkdir()
        (begun / "checkpoints" / name / "part-00000-of-00001.data-00000-of-00001").write_bytes(b"half")
    assert continued(begun, data, Interrupt()) == [f"{begun}: continues at epoch 2 of 3, after step 10 of 19"]
    assert_equals(begun, whole)


def test_where_the_best_weights_are_damaged_the_best_of_those_that_follow_are_kept(
    begun: Path, data: PreparedData
) -> None:
    flip_a_bit(begun / "checkpoints/best-1.data-00000-of-00001")
    warning, _ = continued(begun, data, Interrupt())
    assert warning.startswith(f"warning: {begun}/checkpoints/best-1: is broken (")
    assert warning.endswith("; the best epoch is chosen among those after 1")
    facts = json.loads((begun / "run.json").read_text())
    curve = json.loads((begun / "history.json").read_text())["val_session_auc"]
    assert facts["best_epoch"] == 2 + (curve[2] > curve[1])
    load_run(begun)


def test_it_goes_on_at_another_learning_rate(begun: Path, data: PreparedData) -> None:
    slower = scenario(dense_learning_rate=1e-6, table_learning_rate=1e-6)
    told: list[str] = []
    train(slower, data, begun, verbose=0, tell=told.append)
    assert told == [f"{begun}: continues at epoch 2 of 3, after step 10 of 19"]
    rates = json.loads((begun / "history.json").read_text())["learning_rate"]
    assert rates[0] > 1e-4
    assert max(rates[1:]) <= 1e-6
    assert load_run(begun).scenario.training.dense_learning_rate == 1e-6


def test_weights_of_the_best_epoch_stay_as_long_as_a_checkpoint_needs_them(data: PreparedData, tmp_path: Path) -> None:
    run = new_run(SCENARIO, data.assets(SCENARIO.features))
    run.model.compile(optimizer=optimizer(run.model, SCENARIO.training))
    checkpoints = Checkpoints(run.model, tmp_path, STEPS)
    kept = []
    for epoch, best in enumerate([1, 2, 2, 2, 2], 1):
        checkpoints.progress.epoch, checkpoints.progress.best_epoch = epoch, best
        if best == epoch:
            run.model.start_behavior.vector.assign_add([1.0] * run.model.start_behavior.vector.shape[0])
            checkpoints.save_best()
        checkpoints.save()
        kept.append(sorted(path.stem for path in tmp_path.glob("best-*.index")))
    assert kept == [["best-1"], ["best-1", "best-2"], ["best-1", "best-2"], ["best-2"], ["best-2"]]
    best = run.model.start_behavior.vector.numpy().tolist()
    run.model.start_behavior.vector.assign([0.0] * len(best))
    checkpoints.load_best()
    assert run.model.start_behavior.vector.numpy().tolist() == best


def test_without_a_checkpoint_that_can_be_read_it_starts_anew(begun: Path, whole: Trained, data: PreparedData) -> None:
    truncate(begun / "checkpoints/step-19.index")
    flip_a_bit(begun / "checkpoints/step-24.index")
    (begun / "checkpoints/step-29.index").unlink()
    interrupt = Interrupt(after=7)
    told = continued(begun, data, interrupt)
    assert told[-1] == f"warning: {begun}: has no checkpoint that can be read; the training starts anew"
    assert interrupt.steps == 7
    assert continued(begun, data, Interrupt()) == [f"{begun}: continues at epoch 1 of 3, after step 5 of 19"]
    assert_equals(begun, whole)


def test_stopped_before_its_first_checkpoint_it_starts_at_its_beginning(data: PreparedData, tmp_path: Path) -> None:
    with pytest.raises(Interruption):
        train(SCENARIO, data, tmp_path / "run", verbose=0, callbacks=[Interrupt(after=3)])
    interrupt = Interrupt(after=2)
    told = continued(tmp_path / "run", data, interrupt)
    assert told == [
        f"{tmp_path / 'run'}: was stopped before its first checkpoint; the training starts at its beginning"
    ]
    assert interrupt.steps == 2


def test_another_scenario_or_other_data_is_refused(begun: Path, data: PreparedData, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"`training\.seed: 17` and the scenario says `18`; .*--overwrite"):
        train(scenario(seed=18), data, begun, verbose=0)
    other = write_tiny_data(tmp_path / "other", SCENARIO, sessions=SESSIONS + 1)
    with pytest.raises(InputError, match=rf"begun on other .*\({data.directory}\) than {other.directory} gives now"):
        train(SCENARIO, other, begun, verbose=0)
    # The same sessions in other files come in another order.
    again = write_tiny_data(tmp_path / "again", SCENARIO, sessions=SESSIONS)
    again.manifest["parts"]["train"]["days"]["all"]["files"].reverse()
    with pytest.raises(InputError, match="begun on other sessions or files"):
        train(SCENARIO, again, begun, verbose=0)
    moved = write_tiny_data(tmp_path / "moved", SCENARIO, sessions=SESSIONS)
    assert "continues at epoch 2" in continued(begun, moved, Interrupt(after=0))[0]


def test_overwrite_starts_anew_and_a_finished_run_is_refused(begun: Path, whole: Trained, data: PreparedData) -> None:
    interrupt = Interrupt(after=7)
    with pytest.raises(Interruption):
        train(SCENARIO, data, begun, overwrite=True, verbose=0, callbacks=[interrupt], tell=pytest.fail)
    assert interrupt.steps == 7
    assert [path.name for path in (begun / "checkpoints").glob("step-*.index")] == ["step-5.index"]
    with pytest.raises(
        InputError, match="holds a complete run; name a new directory, or overwrite it with --overwrite"
    ):
        train(SCENARIO, data, whole.directory, verbose=0)
