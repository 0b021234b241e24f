"""The serving benchmark runs to its last line, at sizes that say nothing about speed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_the_last_line_has_the_numbers() -> None:
    sizes = "--vocabulary 20 --candidates 6 --behaviors 4 --page-size 3 --pages 2 --clients 2 --seconds 1 --repeats 2"
    command = [sys.executable, "-m", "benchmarks.serving", "--json", *sizes.split()]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    numbers = json.loads(run.stdout.splitlines()[-1])
    wanted = {"sessions_per_second", "p50_ms", "p99_ms", "p50_overhead", "p50_over_model"}
    wanted |= {"gate_once_vs_each_page", "gate_once_vs_each_candidate"}
    assert wanted <= set(numbers)
    assert all(numbers[name] > 0 for name in wanted)
