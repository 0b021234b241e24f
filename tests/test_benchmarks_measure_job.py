"""A measurement is a process of its own that ends with one line of JSON."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.measurement import Measurement
from pipeline.simulate import simulate


@pytest.mark.slow
def test_a_profiled_run_tells_what_it_took(tmp_path: Path) -> None:
    summary = simulate(tmp_path / "log", users=60, items=400, days=20)
    command = [sys.executable, "-m", "benchmarks.measure_job", "pipeline", "--profile"]
    run = subprocess.run(
        [*command, "--input", str(tmp_path / "log"), "--output", str(tmp_path / "out")],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    measured = Measurement(**json.loads(run.stdout))
    assert measured.sessions == summary.sessions
    assert 0 < sum(measured.records.values()) <= summary.sessions
    assert measured.seconds > 0
    assert measured.cpu_seconds > 0
    assert 0 < measured.imports_memory_mib < measured.peak_memory_mib
    assert "Ordered by: cumulative time" in run.stderr
    assert "Ordered by: internal time" in run.stderr
