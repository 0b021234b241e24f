"""What `score_items` answers: probabilities of a pointwise model, logits where the loss leaves them without a level."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from lifted_run import lifted_run

from export.signatures import save_signatures
from model.run_directory import Run
from tiny_data import random_raw_sessions


def logits_and_scores(run: Run, directory: Path) -> tuple[np.ndarray, np.ndarray]:
    """The model's own logits of eight sessions, and its export's answers, `[8, 6]`; NaN where there is no candidate."""
    raw = random_raw_sessions(run.scenario, batch=8, behaviors=5, candidates=6, seed=1)
    tensors = {name: tf.constant(values) for name, values in raw.items()}
    encoded = run.preprocessing(tensors)
    gate = run.model.session_gate(encoded)
    save_signatures(run, directory)
    exported = tf.saved_model.load(str(directory)).signatures["score_items"]
    logits, scores = run.model.score_items(encoded, gate), exported(gate=gate, **tensors)["scores"]
    real = np.arange(6) < raw["candidate_count"][:, np.newaxis]
    return np.where(real, logits, np.nan), np.where(real, scores, np.nan)


@pytest.mark.parametrize("loss", ["listwise", "pairwise"])
def test_logits_that_differ_by_a_thousandth_around_20_rank_apart(loss: str, tmp_path: Path) -> None:
    logits, scores = logits_and_scores(lifted_run(tmp_path / "data", loss), tmp_path / "saved")
    assert 20 < np.nanmin(logits) < np.nanmax(logits) < 25
    np.testing.assert_allclose(scores, logits, atol=1e-5)
    gaps = logits[:, :, np.newaxis] - logits[:, np.newaxis, :]
    apart = np.abs(gaps) > 2e-5
    assert apart.sum() > 100
    assert 1e-4 < np.median(np.abs(gaps[apart])) < 1e-2
    answered = scores[:, :, np.newaxis] - scores[:, np.newaxis, :]
    np.testing.assert_array_equal(np.sign(answered[apart]), np.sign(gaps[apart]))


@pytest.mark.parametrize("level", [-1.0, 22.5])
def test_a_pointwise_model_answers_probabilities(level: float, tmp_path: Path) -> None:
    logits, scores = logits_and_scores(lifted_run(tmp_path / "data", "pointwise", level), tmp_path / "saved")
    np.testing.assert_allclose(scores, 1 / (1 + np.exp(-logits)), atol=1e-6)
