"""The arithmetic of the benchmark's results, and its command line with made-up measurements."""

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from benchmarks import pipeline
from benchmarks.measurement import Measurement
from benchmarks.summarise_runs import summarise_runs


def run(seconds: float, sessions: int = 0, memory: float = 900) -> Measurement:
    return Measurement(seconds, 2 * seconds, memory, 700, sessions, {"train": 3})


RUNS = {
    ("pipeline", "start"): [run(2, 200)],
    ("pipeline", "small"): [run(7, 50_000), run(6, 50_000), run(90, 50_000)],
    ("pipeline", "middle"): [run(15, 200_000), run(25, 200_000)],
    ("pipeline", "large"): [run(42, 400_000)],
    ("pipeline", "skewed middle"): [run(8, 50_000, 1_000)],
    ("pipeline", "skewed large"): [run(50, 400_000, 1_250)],
    ("reference", "middle"): [run(200, memory=5_000)],
}


def test_results_are_arithmetic_of_the_medians() -> None:
    results = summarise_runs(RUNS)
    assert results["sessions_per_second"] == 200_000 / 20
    assert results["reference_sessions_per_second"] == 200_000 / 200
    assert results["ratio"] == results["cpu_ratio"] == 10
    assert results["growth"] == pytest.approx((42 / 400_000) / (7 / 50_000))
    assert results["growth_without_start"] == pytest.approx((40 / 400_000) / (5 / 50_000))
    assert results["cpu_growth"] == results["growth"]
    assert results["peak_memory_mib"] == 1_250
    assert results["peak_memory_growth_mib"] == 250
    assert results["reference_peak_memory_mib"] == 5_000


def test_a_reference_that_did_another_job_is_an_error() -> None:
    other = [replace(RUNS["reference", "middle"][0], records={"train": 4})]
    with pytest.raises(ValueError, match=r"the reference .*4"):
        summarise_runs(RUNS | {("reference", "middle"): other})


def test_the_command_ends_with_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked = []

    def child(_: object, module: str, *arguments: str) -> str:
        asked.append((module, *arguments))
        if module != "benchmarks.measure_job":
            return ""
        job, _, log, _, output = arguments
        Path(output).mkdir()
        return json.dumps(asdict(RUNS[job, Path(log).name.replace("-", " ")][0]))

    monkeypatch.setattr(pipeline._Benchmark, "_child", child)
    monkeypatch.setattr(sys, "argv", ["pipeline", "--sessions", "2000"])
    pipeline.main()
    *table, last = capsys.readouterr().out.splitlines()
    assert json.loads(last)["ratio"] == pytest.approx(200 / 15, abs=0.01)
    assert any("13.3 times the reference" in line for line in table)
    users = [arguments[-1] for module, *arguments in asked if module == "awmoe"]
    assert users == ["38", "94", "377", "755"]
    heavy = [arguments[-1] for module, *arguments in asked if module == "benchmarks.skewed_log"]
    assert heavy == ["1000", "1000"]

    monkeypatch.setattr(sys, "argv", ["pipeline", "--sessions", "2000", "--json"])
    pipeline.main()
    assert len(capsys.readouterr().out.splitlines()) == 1
