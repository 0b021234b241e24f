"""How fast the pipeline is, how its time grows with the log, and how much memory a skewed log takes.

    python -m benchmarks.pipeline --json

Measures `pipeline.run.preprocess` with configs/search.yaml (up to 50 behaviours) on simulated logs
in Parquet, on Beam's local runner with one worker, the log in the page cache:

- sessions a second of the whole job at 200,000 sessions, from the call to its return: reading,
  joining, sampling, as-of numbers, encoding, writing records, vocabularies, statistics and the
  serving tables. The same for `benchmarks/reference_pipeline.py`, which writes equal records
  with dicts and one `tf.train.Example` at a time; `ratio` compares the two.
- `growth`: time a session at 400,000 sessions over that at 50,000. The job takes a second or two
  whatever the log, which makes growth look smaller; `growth_without_start` leaves out the time
  that a log of 200 sessions takes.
- `peak_memory_mib` on a skewed log (`benchmarks/skewed_log.py`: a user of 100,000 events, an item
  in every session, a query in half of them) made from the 400,000 sessions, and by how much that
  is more than from the 200,000. It holds the libraries too: `imports_memory_mib`.

Each run is a process of its own (`benchmarks/measure_job.py`). Runs that are repeated are spread over
the whole time, and their median counts, as other programs on the machine disturb them; `cpu_ratio`
and `cpu_growth` compare seconds of processors, which these disturb less. Sessions are those that
were read, also those that train nothing (without a purchase).

Not measured: importing libraries, several workers, other runners, remote files, JSON Lines, training.

Takes about 12 minutes on 2 free cores, and stops with an error after 30 (`--minutes`).
`--sessions 8000` is a quick look, in which the start of the job weighs most. `--profile` measures
nothing: it runs the pipeline once at 50,000 sessions under cProfile and prints its dearest
functions to standard error.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.measurement import Measurement
from benchmarks.summarise_runs import summarise_runs

_ROOT = Path(__file__).parent.parent
_SESSIONS_A_USER = 5.3  # of the simulator
_HEAVY_EVENTS = 100_000
#: (job, log), in an order that spreads what is repeated.
_RUNS = (
    ("pipeline", "start"),
    ("pipeline", "small"),
    ("pipeline", "middle"),
    ("reference", "middle"),
    ("pipeline", "small"),
    ("pipeline", "large"),
    ("pipeline", "middle"),
    ("pipeline", "skewed middle"),
    ("pipeline", "skewed large"),
    ("pipeline", "large"),
    ("pipeline", "small"),
)


class _Benchmark:
    """Runs children in a directory, until there is no time left."""

    def __init__(self, directory: Path, minutes: float) -> None:
        self._directory = directory
        self._minutes = minutes
        self._deadline = time.monotonic() + 60 * minutes

    def simulate(self, log: str, sessions: int) -> None:
        """Writes a log of about so many sessions."""
        users = max(1, round(sessions / _SESSIONS_A_USER))
        _tell(f"simulating the {log} log")
        self._child("awmoe", "simulate", "--output", self._path(log), "--users", str(users))

    def skew(self, log: str, heavy_events: int) -> None:
        """Writes the skewed log of another one."""
        paths = ("--input", self._path(log), "--output", self._path(f"skewed {log}"))
        self._child("benchmarks.skewed_log", *paths, "--heavy-events", str(heavy_events))

    def measure(self, job: str, log: str, *options: str) -> Measurement:
        """One run of a job."""
        output = self._directory / "output"
        arguments = ("--input", self._path(log), "--output", str(output), *options)
        measured = Measurement(**json.loads(self._child("benchmarks.measure_job", job, *arguments).splitlines()[-1]))
        shutil.rmtree(output)
        _tell(
            f"{job} on the {log} log: {measured.seconds:.1f} s ({measured.cpu_seconds:.1f} s of processors), "
            f"{measured.peak_memory_mib:,.0f} MiB"
        )
        return measured

    def _child(self, module: str, *arguments: str) -> str:
        """Standard output of a module that runs in a process of its own."""
        command = [sys.executable, "-m", module, *arguments]
        try:
            done = subprocess.run(
                command, cwd=_ROOT, stdout=subprocess.PIPE, text=True, timeout=self._deadline - time.monotonic()
            )
        except subprocess.TimeoutExpired:
            sys.exit(f"benchmark: stopped after {self._minutes:g} minutes, in {' '.join(command[2:4])}")
        if done.returncode:
            sys.exit(f"benchmark: {' '.join(command[2:])} failed with status {done.returncode}")
        return done.stdout

    def _path(self, name: str) -> str:
        return str(self._directory / name.replace(" ", "-"))


def _tell(line: str) -> None:
    """Progress goes to standard error, so that standard output holds results only."""
    print(line, file=sys.stderr, flush=True)


def _table(results: Mapping[str, Any]) -> str:
    """The results for people."""
    lines = [f"{'job':<10}{'log':<14}{'sessions':>10}{'seconds':>10}{'sessions/s':>12}{'peak MiB':>10}"]

    def add(job: str, log: str, seconds: float, memory: int) -> None:
        sessions = results["sessions"][log]
        lines.append(f"{job:<10}{log:<14}{sessions:>10,}{seconds:>10.1f}{sessions / seconds:>12,.0f}{memory:>10,}")

    for log in results["sessions"]:
        add("pipeline", log, results["seconds"][log], results["memory_mib"][log])
    add("reference", "middle", results["reference_seconds"], results["reference_peak_memory_mib"])
    return "\n".join(
        [
            *lines,
            f"{results['ratio']:.1f} times the reference; time a session at the large log is {results['growth']:.2f} "
            f"times that at the small one ({results['growth_without_start']:.2f} without the start)",
            f"peak memory {results['peak_memory_mib']:,} MiB on the large skewed log, "
            f"{results['peak_memory_growth_mib']:+,} MiB against the middle one; "
            f"{results['imports_memory_mib']:,} MiB of it are libraries",
        ]
    )


def main() -> None:
    """Runs the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=200_000, help="of the middle log; the others go with it")
    parser.add_argument("--json", action="store_true", help="print nothing but the line of JSON")
    parser.add_argument("--minutes", type=float, default=30, help="stop with an error after so many")
    parser.add_argument("--profile", action="store_true", help="profile the pipeline at the small log instead")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="benchmark-") as directory:
        benchmark = _Benchmark(Path(directory), arguments.minutes)
        if arguments.profile:
            benchmark.simulate("small", arguments.sessions // 4)
            benchmark.measure("pipeline", "small", "--profile")
            return
        sessions = {
            "start": 200,
            "small": arguments.sessions // 4,
            "middle": arguments.sessions,
            "large": arguments.sessions * 2,
        }
        for log, size in sessions.items():
            benchmark.simulate(log, size)
        for log in ("middle", "large"):
            benchmark.skew(log, round(_HEAVY_EVENTS * arguments.sessions / 200_000))
        runs: dict[tuple[str, str], list[Measurement]] = {}
        for job, log in _RUNS:
            runs.setdefault((job, log), []).append(benchmark.measure(job, log))
    results = summarise_runs(runs)
    if not arguments.json:
        print(_table(results))
    print(json.dumps(results))


if __name__ == "__main__":
    main()
