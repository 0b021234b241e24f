"""The benchmark of scoring: its bound is arithmetic, and its last line is what it promises."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.matrix_bound import score_operations
from benchmarks.random_model import random_model

ROOT = Path(__file__).parent.parent


def test_the_bound_counts_every_matrix_product(tmp_path: Path) -> None:
    sizes = ["model.hidden_layers=[8]", "model.activation_layers=[6, 5]", "model.experts={count: 3, layers: [7, 4]}"]
    model = random_model(tmp_path, sizes, rows=10).model
    behavior, candidate, query, user = (
        network.dense[0].kernel.shape[0]
        for network in (
            model.input_network.behavior_mlp,
            model.input_network.candidate_mlp,
            model.input_network.query_mlp,
            model.input_network.user_mlp,
        )
    )
    n, t = 11, 1 + 20  # with the start behaviour
    attention = t * 8 * 6 + n * 8 * 6 + n * t * (8 * 6 + 6 * 5 + 5 * 1) + n * t * 8
    experts = 3 * (n * 16 * 7 + 16 * 7 + n * (7 * 4 + 4 * 1))
    inputs = t * behavior * 8 + n * candidate * 8 + query * 8 + user * 8
    assert score_operations(model, candidates=11, behaviors=20) == 2 * (inputs + attention + experts)


def test_the_last_line_has_every_case() -> None:
    command = [sys.executable, "-m", "benchmarks.scoring", "--json", "--repeats", "1"]
    command += ["--candidates", "2", "3", "--behaviors", "4"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, run.stderr
    cases = json.loads(run.stdout.splitlines()[-1])["cases"]
    assert [(case["candidates"], case["behaviors"]) for case in cases] == [(2, 4), (3, 4)]
    for case in cases:
        assert {
            "ms",
            "ids_ms",
            "peer_ratio",
            "peer_default_ratio",
            "bound_ratio",
            "gate_share",
            "candidate_gate_ratio",
            "bfloat16_ratio",
        } <= case.keys()
        assert all(case[name] > 0 for name in case)
