"""A job that is killed: what it leaves is never taken for complete, and running again is all it takes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from prepared_records import record_messages

from pipeline.errors import InputError
from pipeline.prepared_data import PARTS, PreparedData
from pipeline.run import preprocess
from pipeline.scenario_file import load_scenario
from pipeline.simulate import simulate

ROOT = Path(__file__).parent.parent
CONFIG = ROOT / "configs/search.yaml"
SCENARIO = load_scenario(CONFIG)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("kill") / "log"
    simulate(directory, users=300, items=400, days=20)
    return directory


def kill_half_way(log: Path, output: Path, *options: str) -> None:
    """Starts the job and kills it, and whatever it started, when its first records are there."""
    revisions = {path.name for path in output.glob("revision-*")}
    command = [sys.executable, str(ROOT / "awmoe.py"), "preprocess", str(CONFIG)]
    job = subprocess.Popen(
        [*command, "--input", str(log), "--output", str(output), *options],
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while not [p for p in output.glob("revision-*/train/*/*.gz") if p.parts[-4] not in revisions]:
        assert job.poll() is None, f"it ended before it could be killed: {job.communicate()[1].decode()}"
        assert time.monotonic() < deadline, "no records within two minutes"
        time.sleep(0.002)
    os.killpg(job.pid, signal.SIGKILL)
    job.communicate()
    assert job.returncode == -signal.SIGKILL


@pytest.mark.slow
def test_a_killed_job_leaves_nothing_to_read_and_running_again_is_safe(log: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    kill_half_way(log, output)
    assert not (output / "manifest.json").exists()
    with pytest.raises(InputError, match=r"did not finish \(no manifest\); run `awmoe preprocess"):
        PreparedData.open(output)
    preprocess(SCENARIO, str(log), str(output))
    data = PreparedData.open(output)
    records = record_messages(data)
    assert sum(map(len, records.values())) == sum(data.sessions(part) for part in PARTS) > 0
    assert sorted(p.name for p in output.iterdir()) == ["manifest.json", data.latest.name]

    # Killed while it replaces data: that stays, and stays readable; the next run clears up.
    before = {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}
    kill_half_way(log, output, "--overwrite")
    assert {path: path.read_bytes() for path in before} == before
    preprocess(SCENARIO, str(log), str(output), overwrite=True)
    again = PreparedData.open(output)
    assert sorted(p.name for p in output.iterdir()) == ["manifest.json", again.latest.name]
    assert record_messages(again) == records
