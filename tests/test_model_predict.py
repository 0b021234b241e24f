"""Scores of a run and what is measured of them, where logits have a level and where they have none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from lifted_run import lifted_run
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from model.dataset import raw_dataset
from model.evaluate import evaluate
from model.predict import predict
from model.run_directory import Run
from pipeline.prepared_data import PreparedData
from tiny_data import write_tiny_data


def data_of(run: Run, directory: Path) -> PreparedData:
    return write_tiny_data(directory, run.scenario, sessions=64)


def logits_of(run: Run, data: PreparedData) -> np.ndarray:
    """The model's logits of the test part's candidates, in the order of `predict`."""
    (raw,) = raw_dataset(data.files("test"), run.scenario.features, batch_size=64)
    logits = run.model(run.preprocessing(raw)).numpy()
    real: np.ndarray = tf.sequence_mask(raw["candidate_count"], logits.shape[1]).numpy()
    return logits[real].astype(np.float64)


@pytest.mark.parametrize(("loss", "level"), [("listwise", 22.5), ("pairwise", 60.0)])
def test_without_a_level_scores_are_logits_and_rank_apart(loss: str, level: float, tmp_path: Path) -> None:
    run = lifted_run(tmp_path / "assets", loss, level)
    data = data_of(run, tmp_path / "data")
    rows = predict(run, data.files("test")).to_pandas()
    np.testing.assert_allclose(rows["score"], logits_of(run, data), atol=2e-5)
    assert np.abs(rows["score"] - level).max() < 0.1
    two_classes = rows.groupby("session_id").filter(lambda s: s["label"].nunique() == 2).groupby("session_id")
    aucs = two_classes.apply(lambda s: roc_auc_score(s["label"], s["score"]))
    assert aucs.nunique() > 3, "candidates tie"
    metrics = evaluate(run, data).metrics["full"]
    assert metrics["model"]["auc"] == pytest.approx(aucs.mean())
    assert metrics["model"]["pooled_auc"] is None
    assert metrics["model"]["log_loss"] is None


def test_with_a_level_scores_are_probabilities(tmp_path: Path) -> None:
    run = lifted_run(tmp_path / "assets", "pointwise", -1.0)
    data = data_of(run, tmp_path / "data")
    rows = predict(run, data.files("test")).to_pandas()
    np.testing.assert_allclose(rows["score"], expit(logits_of(run, data)), atol=1e-6)
    model = evaluate(run, data).metrics["full"]["model"]
    assert model["pooled_auc"] == pytest.approx(roc_auc_score(rows["label"], rows["score"]))
    assert model["log_loss"] is not None


def test_equal_logits_are_equal_scores_wherever_they_stand(tmp_path: Path) -> None:
    run = lifted_run(tmp_path / "assets", "pointwise", -1.0)
    run.model.experts.upper_kernels[-1].assign(tf.zeros_like(run.model.experts.upper_kernels[-1]))
    rows = predict(run, data_of(run, tmp_path / "data").files("test")).to_pandas()
    assert rows["score"].nunique() == 1
