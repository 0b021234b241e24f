"""The same command on a real Apache Flink: its output equals the local runner's, record for record.

`make test-flink` fetches Beam's job server and runs this file; without the jar it is skipped.
"""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from pipeline.data_statistics import STATISTICS_FILE
from pipeline.prepared_data import PARTS, Part, PreparedData
from pipeline.scenario_file import load_scenario
from pipeline.simulate import simulate

ROOT = Path(__file__).parent.parent
JAR = ROOT / ".flink" / "job-server.jar"
CONFIG = "configs/search.yaml"
#: The job takes about a minute on 2 cores.
TIMEOUT_S = 400
FLINK = ("--runner=FlinkRunner", f"--flink_job_server_jar={JAR}", "--parallelism=2", "--environment_type=LOOPBACK")

pytestmark = [
    pytest.mark.flink,
    pytest.mark.slow,
    pytest.mark.skipif(not JAR.exists(), reason="Beam's job server for Flink is not there: `make test-flink` gets it"),
    pytest.mark.skipif(shutil.which("java") is None, reason="there is no java on the PATH"),
]


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("flink") / "log"
    simulate(directory, users=300, items=400)
    return directory


@pytest.fixture(scope="module")
def both(log: Path) -> tuple[PreparedData, PreparedData]:
    """The same log prepared by the local runner and by Flink."""
    for name, options in (("local", ()), ("flink", FLINK)):
        told = preprocess(log, log.parent / name, *options)
        assert told.returncode == 0, told.stderr[-3000:]
    return PreparedData.open(log.parent / "local"), PreparedData.open(log.parent / "flink")


def preprocess(log: Path, output: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Runs the command; at the end of its time it goes together with the job server that it started."""
    paths = "--input", str(log), "--output", str(output)
    command = [sys.executable, "-m", "awmoe", "preprocess", CONFIG, *paths, *options]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            out, err = process.communicate(timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def records(data: PreparedData, part: Part) -> list[list[tuple[str, bytes]]]:
    """The records of a part in some fixed order, each as its features by name."""
    examples = (
        tf.train.Example.FromString(record)
        for record in tf.data.TFRecordDataset(data.files(part), compression_type="GZIP").as_numpy_iterator()
    )
    return sorted(
        sorted((name, feature.SerializeToString()) for name, feature in example.features.feature.items())
        for example in examples
    )


@pytest.mark.parametrize("part", PARTS)
def test_the_records_are_the_same(both: tuple[PreparedData, PreparedData], part: Part) -> None:
    local, flink = (records(data, part) for data in both)
    assert len(flink) == both[0].sessions(part)
    assert flink == local
    if part != "new_items":  # a search log has none
        assert flink


def test_vocabularies_and_statistics_are_the_same(both: tuple[PreparedData, PreparedData]) -> None:
    features = load_scenario(ROOT / CONFIG).features
    local, flink = (data.assets(features) for data in both)
    assert flink.numeric == local.numeric
    assert flink.vocabularies.keys() == local.vocabularies.keys() != set()
    for name, file in local.vocabularies.items():
        assert flink.vocabularies[name].read_bytes() == file.read_bytes() != b"", name


def test_the_serving_tables_are_the_same(both: tuple[PreparedData, PreparedData]) -> None:
    local, flink = ({path.name: pq.read_table(path) for path in data.serving.iterdir()} for data in both)
    assert flink.keys() == local.keys() != set()
    for name, table in local.items():
        assert flink[name].equals(table), name


def test_the_data_statistics_are_the_same(both: tuple[PreparedData, PreparedData]) -> None:
    local, flink = ((data.latest / STATISTICS_FILE).read_bytes() for data in both)
    assert flink == local


def test_counters_and_times_are_the_same(both: tuple[PreparedData, PreparedData]) -> None:
    local, flink = (data.manifest for data in both)
    assert flink["runs"][0]["counters"] == local["runs"][0]["counters"]
    assert flink["split"] == local["split"]
    assert flink["log_end"] == local["log_end"]


def test_a_damaged_file_is_one_clear_line_there_too(log: Path, tmp_path: Path) -> None:
    shutil.copytree(log, tmp_path / "log")
    damaged = min((tmp_path / "log").glob("users*"))
    damaged.write_bytes(b"nothing of the kind")
    told = preprocess(tmp_path / "log", tmp_path / "out", *FLINK)
    assert told.returncode == 2
    (line,) = [line for line in told.stderr.splitlines() if line.startswith("awmoe: ")]
    assert line.startswith(f"awmoe: {damaged}: cannot be read, is it damaged?")
    assert not (tmp_path / "out").exists()
