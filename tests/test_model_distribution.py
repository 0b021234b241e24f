"""Several replicas train as one device does."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from train_mirrored import STOP, Losses

from experiment_data import experiment_scenario
from model.run_directory import load_run
from model.training.distribution import distribution_strategy
from model.training.train import History, train
from pipeline.config import Scenario
from pipeline.errors import InputError
from pipeline.prepared_data import PreparedData
from pipeline.scenario_file import dump_scenario
from tiny_data import write_tiny_data

ROOT = Path(__file__).parent.parent
#: An odd batch, and a last one of 1 session: one replica has none.
SESSIONS, BATCH = 50, 7
_TRAINING = {"batch_size": BATCH, "shuffle_buffer": 64, "dense_learning_rate": 0.01, "checkpoint_steps": 2}
#: Of two experts the idle one is all that can be drawn, so its numbers can be compared.
SURE = experiment_scenario(
    model={
        "name": "aw_moe",
        "embedding_l2": 0.01,
        "experts": {"count": 2, "layers": [8], "top_k": 1, "load_balance": 0.1, "adversarial": 0.1},
    },
    training={
        **_TRAINING,
        "epochs": 2,
        "clip_norm": 0.05,
        "table_optimizer": "lazy_adamw",
        "table_learning_rate": 0.01,
        "table_weight_decay": 0.1,
    },
)
RANDOM = experiment_scenario(
    model={
        "name": "aw_moe_cl",
        "id_dropout": 0.2,
        # a replica's three or four sessions have fewer negatives than a batch of seven
        "contrastive": {"augmentations": ["mask", "crop"], "negatives": 1},
        "experts": {"count": 4, "layers": [8], "top_k": 2, "noise": 0.5, "load_balance": 0.1},
    },
    training={
        **_TRAINING,
        "epochs": 2,
        "dense_learning_rate": 1e-5,
        "table_learning_rate": 1e-5,
        "table_optimizer": "lazy_adamw",
    },
)


def environment(**variables: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", **variables}


def write(directory: Path, name: str, scenario: Scenario) -> PreparedData:
    (directory / f"{name}.yaml").write_text(dump_scenario(scenario), encoding="utf-8")
    return write_tiny_data(directory / f"{name}-data", scenario, sessions=SESSIONS)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    return write(tmp_path_factory.mktemp("alone"), "sure", SURE)


@pytest.fixture(scope="module")
def alone(data: PreparedData) -> tuple[Path, History, list[float]]:
    """Trained on one device."""
    directory, losses = Path(data.directory).parent / "run", Losses()
    return directory, train(SURE, data, directory, verbose=0, callbacks=[losses]), losses.of_steps


@pytest.fixture(scope="module")
def mirrored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `train_mirrored.py` wrote."""
    directory = tmp_path_factory.mktemp("mirrored")
    write(directory, "sure", SURE)
    write(directory, "random", RANDOM)
    command = [sys.executable, str(ROOT / "tests/train_mirrored.py"), str(directory)]
    subprocess.run(command, env=environment(), check=True, timeout=300)
    return directory


def history(run: Path) -> History:
    return json.loads((run / "history.json").read_text())


def assert_alike(directory: Path, alone: tuple[Path, History, list[float]]) -> None:
    expected_directory, expected, _ = alone
    found = history(directory)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, atol=1e-4, err_msg=name)
    weights, expected_weights = (load_run(path).model.weights for path in (directory, expected_directory))
    for weight, expected_weight in zip(weights, expected_weights, strict=True):
        np.testing.assert_allclose(weight, expected_weight, atol=1e-4, err_msg=weight.name)


@pytest.mark.slow
def test_two_devices_have_the_loss_curve_of_one(mirrored: Path, alone: tuple[Path, History, list[float]]) -> None:
    steps = json.loads((mirrored / "sure.steps.json").read_text())
    assert len(steps) == 2 * 8
    np.testing.assert_allclose(steps, alone[2], atol=1e-4)
    assert_alike(mirrored / "sure", alone)


@pytest.mark.slow
def test_what_two_devices_began_one_device_ends(
    mirrored: Path, data: PreparedData, alone: tuple[Path, History, list[float]], tmp_path: Path
) -> None:
    stopped = shutil.copytree(mirrored / "sure-stopped", tmp_path / "run")
    told: list[str] = []
    train(SURE, data, stopped, verbose=0, tell=told.append)
    assert told == [f"{stopped}: continues at epoch 2 of 2, after step {STOP - 8 - 1} of 8"]
    assert_alike(stopped, alone)


@pytest.mark.slow
def test_losses_with_draws_are_means_over_both_devices(mirrored: Path, tmp_path: Path) -> None:
    """It hardly learns, so the losses of one device differ by the draws alone; a part has sessions for one negative."""
    expected = train(RANDOM, write(tmp_path, "random", RANDOM), tmp_path / "run", verbose=0)
    found = history(mirrored / "random")
    assert found.keys() == expected.keys()
    for name in ("ranking_loss", "contrastive_loss", "val_ranking_loss", "val_contrastive_loss"):
        assert found[name] == pytest.approx(expected[name], rel=0.1), name
    assert np.isfinite(list(found.values())).all()


@pytest.mark.slow
def test_continued_on_two_devices_each_goes_on_with_its_own_draws(mirrored: Path) -> None:
    """The devices' parts differ in size, so what they draw does too. (A checkpoint has the sums of their means.)"""
    expected = history(mirrored / "random")
    for name, values in history(mirrored / "random-continued").items():
        np.testing.assert_allclose(values, expected[name], rtol=1e-6, err_msg=name)


@contextmanager
def two_workers(command: list[str], directory: Path, *of_second: str) -> Iterator[list[subprocess.Popen[str]]]:
    """Two processes that train together; the second with more arguments. Temporary files go to the directory."""
    with socket.socket() as first, socket.socket() as second:
        for each in (first, second):
            each.bind(("localhost", 0))
        cluster = {"worker": [f"localhost:{each.getsockname()[1]}" for each in (first, second)]}
    workers: list[subprocess.Popen[str]] = []
    try:
        for index, more in enumerate(((), of_second)):
            task = {"cluster": cluster, "task": {"type": "worker", "index": index}}
            variables = environment(TF_CONFIG=json.dumps(task), TMPDIR=str(directory))
            process = subprocess.Popen(
                [*command, *more], env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
            workers.append(process)
        yield workers
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()


def options(data: PreparedData, output: Path) -> list[str]:
    config = Path(data.directory).parent / "sure.yaml"
    return [str(config), "--data", str(data.directory), "--output", str(output), "--strategy", "multi_worker"]


@pytest.mark.slow
def test_two_workers_have_the_loss_curve_of_one_device(
    data: PreparedData, alone: tuple[Path, History, list[float]], tmp_path: Path
) -> None:
    (tmp_path / "temporary").mkdir()
    command = [sys.executable, str(ROOT / "awmoe.py"), "train", *options(data, tmp_path / "run")]
    with two_workers(command, tmp_path / "temporary") as workers:
        for worker in workers:
            told, _ = worker.communicate(timeout=300)
            assert worker.returncode == 0, told
            assert f"written: {tmp_path / 'run'}" in told
    assert_alike(tmp_path / "run", alone)
    assert not list((tmp_path / "temporary").glob("awmoe-worker-*"))
    assert {path.name for path in (tmp_path / "run").iterdir()} == {path.name for path in alone[0].iterdir()}


@pytest.mark.slow
def test_a_worker_that_is_refused_is_missed_by_the_other(data: PreparedData, tmp_path: Path) -> None:
    impatient = "from model.training import distribution; distribution._SILENT_SECONDS = 20; import awmoe; awmoe.main()"
    command = [sys.executable, "-c", impatient, "train", *options(data, tmp_path / "run")]
    with two_workers(command, tmp_path, "--warm-start", str(tmp_path)) as (other, refused):
        told, _ = refused.communicate(timeout=300)
        assert (refused.returncode, "its training did not finish" in told) == (2, True), told
        told, _ = other.communicate(timeout=300)
    assert other.returncode == 2, told
    assert "awmoe: training: a worker was lost, or this one lost the others" in told
    assert "Traceback" not in told
    assert not (tmp_path / "run").exists()


def test_fewer_sessions_than_replicas_are_refused(data: PreparedData, tmp_path: Path) -> None:
    scenario = experiment_scenario(training={"batch_size": 2})
    devices = [f"/job:localhost/replica:0/task:0/device:CPU:{index}" for index in range(3)]
    with pytest.raises(InputError, match=r"training\.batch_size: is 2, of all replicas together, and there are 3"):
        train(scenario, data, tmp_path / "run", strategy=tf.distribute.MirroredStrategy(devices), verbose=0)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (None, "TF_CONFIG: is not set; --strategy multi_worker needs it on each machine, as {"),
        ('{"cluster": ', r"TF_CONFIG: is no JSON \(Expecting value.*\); write it as {"),
        ("[]", "TF_CONFIG: needs `cluster` and `task`; write it as {"),
        ({"cluster": {"worker": []}}, "needs `cluster` and `task`"),
        ({"cluster": {"worker": ["a:1"], "ps": ["b:1"]}, "task": {}}, "cluster: has `ps`; only `worker`"),
        ({"cluster": {"worker": "a:1"}, "task": {}}, "cluster: worker: must be a list of addresses"),
        ({"cluster": {"worker": ["a:1", "b"]}, "task": {}}, "cluster: worker: `b` is no host:port"),
        ({"cluster": {"worker": ["a:1", "a:1"]}, "task": {}}, "has an address twice"),
        ({"cluster": {"worker": ["a:1"]}, "task": {"type": "chief", "index": 0}}, "type `chief` is not in the cluster"),
        (
            {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 2}},
            "index `2` is none of the 2 addresses of `worker`",
        ),
    ],
)
def test_a_cluster_that_cannot_be_is_refused(config: Any, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if config:
        monkeypatch.setenv("TF_CONFIG", config if isinstance(config, str) else json.dumps(config))
    with pytest.raises(InputError, match=message):
        distribution_strategy("multi_worker")
