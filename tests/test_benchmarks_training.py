"""The benchmarks of training: their bound is arithmetic, and their last lines are what they promise."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.matrix_bound import gate_operations, score_operations, training_operations
from benchmarks.random_model import random_model
from benchmarks.training_subject import TrainingSubject
from model.dataset import session_dataset

ROOT = Path(__file__).parent.parent


def last_line(*command: str) -> dict[str, Any]:
    run = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, run.stderr
    found: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return found


def test_the_gates_bound_counts_every_matrix_product(tmp_path: Path) -> None:
    sizes = ["model.hidden_layers=[8]", "model.gate.unit_layers=[6, 5]", "model.experts={count: 3, layers: [7, 4]}"]
    model = random_model(tmp_path, sizes, rows=10).model
    behavior, query = (
        mlp.dense[0].kernel.shape[0] for mlp in (model.gate_network.behavior_mlp, model.gate_network.context_mlp)
    )
    t = 1 + 20  # with the start behaviour
    of_key = behavior * 8 + 2 * (8 * 6 + 8 * 6 + 6 * 5) + 5 * 3 + 5 * 1
    assert gate_operations(model, behaviors=20) == 2 * (t * of_key + query * 8 + 2 * 8 * 6)
    one = score_operations(model, 11, 20) + gate_operations(model, 20)
    assert training_operations(model, 4, 11, 20) == 3 * 4 * one
    sparse = score_operations(model, 11, 20, top_k=1)
    assert score_operations(model, 11, 20) - sparse == 2 * 2 * (11 * (16 * 7 + 7 * 4 + 4 * 1) + 16 * 7)


def test_a_subjects_records_hold_the_sessions_of_its_batch(tmp_path: Path) -> None:
    subject = TrainingSubject.make(tmp_path, ["model.experts.layers=[8]"])
    file = tmp_path / "records.tfrecord.gz"
    subject.write_records(file, sessions=6, candidates=3, behaviors=4, seed=1)
    (read,) = session_dataset([str(file)], subject.scenario.features, subject.preprocessing, batch_size=6)
    batch = subject.batch(6, 3, 4)
    order = np.argsort(read["session_id"].numpy())
    np.testing.assert_array_equal(read["candidate_label"].numpy()[order], batch["candidate_label"])
    assert read["behavior_item_id"].shape == batch["behavior_item_id"].shape == (6, 4)
    assert subject.step(batch) > 0


def test_the_last_line_has_every_case() -> None:
    sizes = ["--candidates", "3", "--examples", "12", "--behaviors", "3"]
    measured = last_line("benchmarks.training", "--json", "--repeats", "1", *sizes)
    assert [case["candidates"] for case in measured["cases"]] == [3]
    names = {"examples_per_second", "peer_examples_per_second", "ratio", "default_ratio", "bfloat16_ratio"}
    for case in measured["cases"]:
        assert names <= case.keys()
        assert all(case[name] > 0 for name in names)
    assert 0 <= measured["input_bound_share"] < 1
    assert {"large_table_slowdown", "bfloat16_speedup", "reading_cost"} <= measured.keys()


def test_growth_has_every_point_and_draws_them(tmp_path: Path) -> None:
    sizes = ["--candidates", "1", "2", "--behaviors", "3", "--experts", "3", "--repeats", "1"]
    measured = last_line("benchmarks.training_growth", *sizes, "--output", str(tmp_path / "figure.svg"))
    assert [point["at"] for point in measured["candidates"]] == [1, 2]
    assert {"step_ms", "bound_ms", "gate_ms", "gate_share"} <= measured["candidates"][0].keys()
    assert [len(measured[name]) for name in ("behaviors", "experts", "experts_sparse")] == [1, 1, 1]
    assert (tmp_path / "figure.svg").read_text().count("<path") > 20
