"""The export in bfloat16: other numbers within a bound, the same tensors, and the trained model untouched."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from lifted_run import lifted_run
from random_run import random_run

from export.publish import export
from export.score_difference import read_score_difference
from export.signatures import save_signatures
from model.run_directory import Run
from pipeline.errors import InputError
from tiny_data import random_raw_sessions, tiny_scenario


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return random_run(tiny_scenario(), tmp_path_factory.mktemp("data"))


def in_bfloat16(run: Run, **options: float) -> Run:
    return replace(run, scenario=tiny_scenario(export={"bfloat16": True, **options}))


def test_scores_differ_a_little_and_the_gate_not_at_all(run: Run, tmp_path: Path) -> None:
    raw = random_raw_sessions(run.scenario, batch=6, behaviors=5, candidates=7, seed=1)
    tensors = {name: tf.constant(values) for name, values in raw.items()}
    encoded = run.preprocessing(tensors)
    expected_gate = run.model.session_gate(encoded)
    expected = run.model.scores(run.model.score_items(encoded, expected_gate)).numpy()

    version = export(in_bfloat16(run, max_score_difference=0.1), tmp_path / "models")
    signatures = tf.saved_model.load(str(version)).signatures
    gate_names = [spec.name for spec in run.scenario.features.gate_inputs]
    gate = signatures["session_gate"](**{name: tensors[name] for name in gate_names})["gate"]
    np.testing.assert_allclose(gate, expected_gate, atol=1e-6)
    scores = signatures["score_items"](gate=gate, **tensors)["scores"]
    assert scores.dtype == tf.float32
    real = np.arange(7) < raw["candidate_count"][:, None]
    difference = np.abs(scores.numpy() - expected)[real].max()
    assert 1e-5 < difference < 0.1, "the products are not in bfloat16, or not the model's"
    assert 1e-5 < read_score_difference(version) < 0.1

    again = run.model.scores(run.model.score_items(encoded, expected_gate)).numpy()
    np.testing.assert_array_equal(again, expected, err_msg="the export changed the trained model")
    dtypes = {variable.dtype for variable in tf.saved_model.load(str(version)).weights}
    assert dtypes == {tf.float32}


def test_scores_of_a_high_level_rank_apart(tmp_path: Path) -> None:
    """Around 22.5 bfloat16 has only multiples of 1/8."""
    run = lifted_run(tmp_path / "data", "listwise")
    raw = random_raw_sessions(run.scenario, batch=1, behaviors=5, candidates=7, seed=1)
    tensors = {name: tf.constant(values) for name, values in raw.items()}
    bfloat16 = run.scenario.export.model_copy(update={"bfloat16": True})
    save_signatures(replace(run, scenario=run.scenario.model_copy(update={"export": bfloat16})), tmp_path / "saved")
    signatures = tf.saved_model.load(str(tmp_path / "saved")).signatures
    scores = signatures["score_items"](gate=tf.ones([1, 1]), **tensors)["scores"].numpy()
    logits = run.model(run.preprocessing(tensors)).numpy()
    assert 0 < np.abs(scores - logits).max() < 1e-4
    assert len(np.unique(scores)) == len(np.unique(logits)) > 4


def test_the_default_bound_refuses_it(run: Run, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"differs from the trained one by .*max_score_difference 1e-05"):
        export(in_bfloat16(run), tmp_path / "models")


def test_a_version_without_the_number_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"score_difference\.json: cannot be read .*export again"):
        read_score_difference(tmp_path)
