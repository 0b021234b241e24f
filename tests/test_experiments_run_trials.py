"""Trials: trained once, resumed, in parallel, and what is told of failures."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiment_data import experiment_scenario
from experiments.run_trials import run_trials
from experiments.trial import FACTS, SCORES, Trial, read_trials
from experiments.trial_progress import TrialProgress
from experiments.vary import vary, with_model
from model.run_directory import new_run
from pipeline.errors import InputError
from pipeline.prepared_data import PreparedData
from tiny_data import write_tiny_data

ROOT = Path(__file__).parent.parent
SCENARIO = with_model(experiment_scenario(), "dnn")


def trial(label: str, seed: int, **changes: object) -> Trial:
    keys = {f"training.{key}": value for key, value in {"seed": seed, **changes}.items()}
    return Trial(label, vary(SCENARIO, keys))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    return write_tiny_data(tmp_path_factory.mktemp("data"), SCENARIO, sessions=32)


@pytest.fixture(scope="module")
def experiment(data: PreparedData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One with two finished trials of `a`."""
    directory = tmp_path_factory.mktemp("experiment")
    run_trials([trial("a", 1), trial("a", 2)], data, directory)
    return directory


def times(experiment: Path) -> dict[str, int]:
    return {str(path.relative_to(experiment)): path.stat().st_mtime_ns for path in experiment.rglob(FACTS)}


def test_only_what_is_missing_is_trained(
    data: PreparedData, experiment: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = times(experiment)
    scores = read_trials(experiment)[1].scores()
    (experiment / "trials/a/seed-2" / FACTS).unlink()  # as if it was stopped while it scored
    results = run_trials([trial("a", 1), trial("a", 2)], data, experiment)
    after = times(experiment)
    assert after["trials/a/seed-1/trial.json"] == before["trials/a/seed-1/trial.json"]
    assert after["trials/a/seed-2/trial.json"] > before["trials/a/seed-2/trial.json"]
    assert [(result.facts.label, result.facts.seed) for result in results] == [("a", 1), ("a", 2)]
    assert results[1].scores().equals(scores), "a seed gives the same model again"
    said = capsys.readouterr().err
    assert "1 of 2 trials were done before" in said
    assert "a seed 2 took" in said


def test_the_facts_count_weights_alone(data: PreparedData, experiment: Path) -> None:
    facts = read_trials(experiment)[0].facts
    model = new_run(SCENARIO, data.assets(SCENARIO.features)).model
    tables = sum(table.shape.num_elements() for table in model.embedding.tables.values())
    assert facts.table_parameters == tables
    assert facts.dense_parameters == sum(w.shape.num_elements() for w in model.trainable_weights) - tables


def test_a_trial_of_another_scenario_is_refused_before_any_training(data: PreparedData, experiment: Path) -> None:
    with pytest.raises(InputError, match=r"seed-1: was trained with another scenario .* another output directory"):
        run_trials([trial("b", 1), trial("a", 1, batch_size=8)], data, experiment)
    assert not (experiment / "trials/b").exists()


def test_a_trial_of_other_data_is_refused_before_any_training(
    data: PreparedData, experiment: Path, tmp_path: Path
) -> None:
    again = write_tiny_data(tmp_path / "again", SCENARIO, sessions=32)
    assert again.fingerprint() == data.fingerprint(), "the same data, prepared once more"
    other = write_tiny_data(tmp_path / "other", SCENARIO, sessions=34)
    with pytest.raises(InputError, match=r"seed-1: was trained on other data than .*other holds now"):
        run_trials([trial("b", 1), trial("a", 1)], other, experiment)
    assert not (experiment / "trials/b").exists()


def test_a_damaged_trial_is_named(data: PreparedData, experiment: Path, tmp_path: Path) -> None:
    shutil.copytree(experiment / "trials/a/seed-1", tmp_path / "trials/a/seed-1")
    for file, text in ((FACTS, "{"), (FACTS, "{}")):
        (tmp_path / "trials/a/seed-1" / file).write_text(text)
        with pytest.raises(InputError, match=r"a/seed-1: is damaged .*; delete it, and the same command trains it"):
            run_trials([trial("a", 1)], data, tmp_path)
    shutil.copy(experiment / "trials/a/seed-1" / FACTS, tmp_path / "trials/a/seed-1" / FACTS)
    (tmp_path / "trials/a/seed-1/run/scenario.yaml").unlink()
    with pytest.raises(InputError, match="is damaged"):
        run_trials([trial("a", 1)], data, tmp_path)


def test_a_trial_that_cannot_write_is_named_too(data: PreparedData, experiment: Path, tmp_path: Path) -> None:
    shutil.copytree(experiment / "trials/a/seed-2", tmp_path / "trials/a/seed-2")
    (tmp_path / "trials/a/seed-1" / SCORES).mkdir(parents=True)  # a file is meant: opening it fails
    (tmp_path / "trials/a/seed-2" / FACTS).unlink()
    with pytest.raises(InputError, match=r"^a seed 1: \w+Error: .*scores\.parquet"):
        run_trials([trial("a", 1), trial("a", 2)], data, tmp_path)
    assert [result.facts.seed for result in read_trials(tmp_path)] == [2]


def test_a_failed_trial_is_named_and_the_others_are_kept(
    data: PreparedData, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trials = [trial("wild", 1, dense_learning_rate=1e20), trial("tame", 1)]
    with pytest.raises(InputError, match=r"^wild seed 1: training: the loss is no longer finite"):
        run_trials(trials, data, tmp_path)
    assert [result.facts.label for result in read_trials(tmp_path)] == ["tame"]
    assert "wild seed 1 failed; 0 of 2 trials are done" in capsys.readouterr().err


SCRIPT = """
import sys
from pathlib import Path
from pipeline.quiet_tensorflow import quiet_tensorflow
with quiet_tensorflow():
    import tensorflow as tf
    tf.zeros(1)  # every process of a trial loads the script, and its TensorFlow has begun before ours
if __name__ == "__main__":
    with quiet_tensorflow():
        from test_experiments_run_trials import *
    trials = [trial("a", 1), trial("a", 2, epochs=100_000), trial("a", 3, dense_learning_rate=1e20)]
    run_trials(trials, PreparedData.open(sys.argv[1]), Path(sys.argv[2]), jobs=2)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").exists(), reason="needs Linux's /proc")
def test_processes_that_are_killed_leave_nothing_running_and_the_rest_is_done_later(
    data: PreparedData, tmp_path: Path
) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    command = [sys.executable, str(script), str(data.directory), str(tmp_path)]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if "seed 3" in line:  # 1 is done, 3 has failed, 2 goes on
            break
    assert "a seed 3 failed; 1 of 3 trials are done" in said[-1], said
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert any(_runs(child) for child in children)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stderr.close()
    deadline = time.monotonic() + 20
    while any(_runs(child) for child in children) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(_runs(child) for child in children), "the trial's process outlived its parent"
    assert [result.facts.seed for result in read_trials(tmp_path)] == [1]

    run_trials([trial("a", 1), trial("a", 2)], data, tmp_path)
    assert [result.facts.seed for result in read_trials(tmp_path)] == [1, 2]


def _runs(pid: str) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def test_what_is_left_is_estimated_by_label() -> None:
    first = [trial("slow", 1), trial("fast", 1)]
    with TrialProgress(4, [], [*first, trial("slow", 2), trial("fast", 2)], jobs=1) as progress:
        assert progress.left() == ""
        for done, seconds in zip(first, (1200, 60), strict=True):
            progress.start(done)
            progress.end(done, seconds)
        assert progress.left() == ", about 21 min left"
