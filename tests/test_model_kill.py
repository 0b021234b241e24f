"""A training that is killed in the middle of an epoch: the same command continues it, and nothing is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from event_curves import event_curves
from experiment_data import experiment_scenario
from model.run_directory import load_run
from model.weights_fingerprint import weights_fingerprint
from pipeline.scenario_file import dump_scenario
from tiny_data import write_tiny_data

ROOT = Path(__file__).parent.parent
SCENARIO = experiment_scenario(
    model={"id_dropout": 0.2},
    training={"batch_size": 4, "epochs": 2, "shuffle_buffer": 100, "checkpoint_steps": 10, "deterministic": True},
)
STEPS = 100


def start(config: Path, output: Path) -> subprocess.Popen[str]:
    command = [sys.executable, str(ROOT / "awmoe.py"), "train", str(config), "--data", str(config.parent / "data")]
    command += ["--output", str(output)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> str:
    """What it told."""
    told = process.communicate(timeout=300)[1]
    assert process.returncode == 0, told
    return told


@pytest.mark.slow
def test_killed_in_the_middle_of_an_epoch_it_continues_and_ends_as_if_nothing_was(tmp_path: Path) -> None:
    config = tmp_path / "scenario.yaml"
    config.write_text(dump_scenario(SCENARIO), encoding="utf-8")
    write_tiny_data(tmp_path / "data", SCENARIO, sessions=4 * STEPS)
    finish(start(config, tmp_path / "whole"))

    killed = tmp_path / "killed"
    job, deadline = start(config, killed), time.monotonic() + 300
    # of the last one the index may be there and not yet all of its bytes
    while sum((killed / f"checkpoints/step-{step}.index").exists() for step in range(STEPS + 10, 2 * STEPS, 10)) < 2:
        assert job.poll() is None, f"it ended before it could be killed: {job.communicate()[1]}"
        assert time.monotonic() < deadline, "no two checkpoints of the second epoch within five minutes"
        time.sleep(0.002)
    os.kill(job.pid, signal.SIGKILL)
    job.communicate()
    assert job.returncode == -signal.SIGKILL
    assert not (killed / "run.json").exists()

    told = finish(start(config, killed))
    assert f"{killed}: continues at epoch 2 of 2, after step " in told
    assert not (killed / "checkpoints").exists()
    assert (killed / "history.json").read_text() == (tmp_path / "whole/history.json").read_text()
    of_killed, of_whole = (json.loads((tmp_path / name / "run.json").read_text()) for name in ("killed", "whole"))
    assert {**of_killed, "seconds": 0} == {**of_whole, "seconds": 0}
    for part in ("train", "validation"):
        curves = [event_curves(tmp_path / name / "tensorboard" / part) for name in ("killed", "whole")]
        steps = [{name: [step for step, _ in points] for name, points in each.items()} for each in curves]
        assert steps[0] == steps[1]
    fingerprints = {weights_fingerprint(load_run(tmp_path / name).model) for name in ("killed", "whole")}
    assert len(fingerprints) == 1
