"""Curves and embeddings for TensorBoard, of a whole training and of one that is continued."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from event_curves import event_curves
from experiment_data import experiment_scenario
from model.run_directory import load_run
from model.training.train import History, train
from pipeline.prepared_data import PreparedData
from stop_after import StopAfter
from tiny_data import VOCABULARY_SIZE, write_tiny_data

SCENARIO = experiment_scenario(
    model={"experts": {"count": 3, "layers": [4]}},
    training={"batch_size": 2, "epochs": 2, "shuffle_buffer": 64, "checkpoint_steps": 50, "deterministic": True},
)
STEPS = 120


class Trained(NamedTuple):
    directory: Path
    history: History


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    return write_tiny_data(tmp_path_factory.mktemp("data"), SCENARIO, sessions=2 * STEPS)


@pytest.fixture(scope="module")
def whole(data: PreparedData, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    directory = tmp_path_factory.mktemp("whole") / "run"
    return Trained(directory, train(SCENARIO, data, directory, verbose=0))


class Continued(NamedTuple):
    directory: Path
    steps_before: list[int]


@pytest.fixture(scope="module")
def continued(data: PreparedData, tmp_path_factory: pytest.TempPathFactory) -> Continued:
    """Interrupted at step 215, and continued from the checkpoint before."""
    directory = tmp_path_factory.mktemp("continued") / "run"
    with pytest.raises(KeyboardInterrupt):
        train(SCENARIO, data, directory, verbose=0, callbacks=[StopAfter(215)])
    steps = [step for step, _ in event_curves(directory / "tensorboard/train")["loss"]]
    train(SCENARIO, data, directory, verbose=0, tell=lambda line: None)
    return Continued(directory, steps)


def test_training_points_are_means_since_the_one_before(whole: Trained) -> None:
    curves = event_curves(whole.directory / "tensorboard/train")
    for name in ("loss", "ranking_loss", "contrastive_loss"):
        assert [step for step, _ in curves[name]] == [100, 120, 200, 240]
        values = [value for _, value in curves[name]]
        epochs = [(100 * values[0] + 20 * values[1]) / STEPS, (80 * values[2] + 40 * values[3]) / STEPS]
        np.testing.assert_allclose(epochs, whole.history[name], rtol=1e-4)
    assert all(0 < value < 1 for _, value in curves["session_auc"])
    rates = dict(curves["learning_rate"])
    for step in (100, 240):  # of the step that has just been made, which has seen one step fewer
        assert rates[step] == pytest.approx(3e-3 * (1 + np.cos(np.pi * (step - 1) / 240)) / 2, rel=1e-3, abs=1e-8)
    assert whole.history["learning_rate"] == pytest.approx([rates[120], rates[240]])


def test_validation_points_have_the_gate_too(whole: Trained) -> None:
    curves = event_curves(whole.directory / "tensorboard/validation")
    for name in ("loss", "session_auc", "gate_entropy"):
        assert [step for step, _ in curves[name]] == [120, 240]
        assert [value for _, value in curves[name]] == pytest.approx(whole.history[f"val_{name}"])
    load = [[value for _, value in curves[f"expert_load/{number}"]] for number in (1, 2, 3)]
    np.testing.assert_allclose(np.sum(load, axis=0), 1, rtol=1e-5)
    assert 0 < whole.history["val_gate_entropy"][-1] <= 1


def test_a_continued_training_continues_the_curves(whole: Trained, continued: Continued) -> None:
    """It repeats a point that was written, at 200, which now is a mean of the steps since the checkpoint at 170."""
    assert continued.steps_before == [100, 120, 200]
    found, expected = (
        {part: event_curves(directory / "tensorboard" / part) for part in ("train", "validation")}
        for directory in (continued.directory, whole.directory)
    )
    assert found["validation"] == expected["validation"]
    for name, points in expected["train"].items():
        assert [step for step, _ in found["train"][name]] == [step for step, _ in points]
        assert found["train"][name][:2] == points[:2]


def test_overwritten_the_curves_are_gone_and_without_it_none_are_written(
    whole: Trained, data: PreparedData, tmp_path: Path
) -> None:
    directory = shutil.copytree(whole.directory, tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        train(SCENARIO, data, directory, verbose=0, overwrite=True, tensorboard=False, callbacks=[StopAfter(1)])
    assert not (directory / "tensorboard").exists()


def test_the_projector_has_each_table_and_its_names(whole: Trained) -> None:
    directory = whole.directory / "tensorboard/train"
    run = load_run(whole.directory)
    config = (directory / "projector_config.pbtxt").read_text()
    for table, weights in run.model.embedding.tables.items():
        assert f'tensor_path: "{table}.tensors.tsv"' in config
        rows = np.loadtxt(directory / f"{table}.tensors.tsv", delimiter="\t")
        np.testing.assert_allclose(rows, weights.numpy(), rtol=1e-5)
        assert len((directory / f"{table}.names.tsv").read_text().splitlines()) == len(rows)
    names = (directory / "item.names.tsv").read_text().splitlines()
    assert names == ["(missing)", "(other 1)", *(f"item_{number}" for number in range(VOCABULARY_SIZE))]


def test_tensorboard_itself_reads_the_same(whole: Trained, continued: Continued) -> None:
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed; make setup installs it")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for directory in (whole.directory, continued.directory):
        for part in ("train", "validation"):
            accumulator = EventAccumulator(str(directory / "tensorboard" / part)).Reload()
            curves = event_curves(directory / "tensorboard" / part)
            assert set(accumulator.Tags()["scalars"]) == set(curves)
            for name, points in curves.items():
                assert [(event.step, event.value) for event in accumulator.Scalars(name)] == points
