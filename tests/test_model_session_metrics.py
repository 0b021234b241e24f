"""Session metrics against scikit-learn, session by session; the streaming metric against them."""

from __future__ import annotations

import time
from itertools import combinations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score, roc_auc_score

from model.session_auc import SessionAUC
from model.session_metrics import SESSION_METRICS, session_metrics


def random_sessions(seed: int, sessions: int, items: int, levels: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Items of sessions in mixed order; scores of few levels tie, and some sessions have one class."""
    rng = np.random.default_rng(seed)
    session = rng.permutation(np.repeat(np.arange(sessions), rng.integers(1, items, sessions, endpoint=True)))
    return session, (rng.random(len(session)) < 0.4).astype(np.float32), rng.integers(0, levels, len(session)) / 7


def mean_reciprocal_rank(above: int, tied: np.ndarray) -> float:
    """Of the first positive, over all places that the tied items' positives may take."""
    places = list(combinations(range(len(tied)), int(tied.sum())))
    return float(np.mean([1 / (1 + above + taken[0]) for taken in places]))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), items=st.integers(1, 16), levels=st.sampled_from([1, 4, 1000]))
def test_equals_scikit_learn(seed: int, items: int, levels: int) -> None:
    session, labels, scores = random_sessions(seed, 6, items, levels)
    metrics = session_metrics(session, labels, scores)
    for i in range(6):
        label, score = labels[session == i], scores[session == i]
        if label.min() == label.max():
            assert all(np.isnan(metrics[name][i]) for name in SESSION_METRICS)
            continue
        assert metrics["auc"][i] == pytest.approx(roc_auc_score(label, score))
        assert metrics["ndcg"][i] == pytest.approx(ndcg_score([label], [score]))
        assert metrics["ndcg_at_10"][i] == pytest.approx(ndcg_score([label], [score], k=10))
        first = score[label > 0].max()
        expected = mean_reciprocal_rank(int((score > first).sum()), label[score == first])
        assert metrics["mrr"][i] == pytest.approx(expected)
        best = np.argsort(-score, kind="stable")[:10]
        if label[best].min() == label[best].max():
            assert np.isnan(metrics["auc_at_10"][i])
        else:
            assert metrics["auc_at_10"][i] == pytest.approx(roc_auc_score(label[best], score[best]))


def test_by_hand() -> None:
    """Positives at ranks 1 and 3 of four items: 3 of 4 pairs are right."""
    metrics = session_metrics(np.zeros(4, int), np.array([1, 0, 1, 0]), np.array([0.9, 0.8, 0.7, 0.1]))
    assert metrics["auc"][0] == pytest.approx(0.75)
    assert metrics["ndcg"][0] == pytest.approx((1 + 1 / 2) / (1 + 1 / np.log2(3)))


def test_no_items() -> None:
    empty = session_metrics(np.array([], int), np.array([]), np.array([]))
    assert all(len(values) == 0 for values in empty.values())


def test_a_hundred_thousand_sessions_take_seconds() -> None:
    rng = np.random.default_rng(0)
    session = np.repeat(np.arange(100_000), 11)
    started = time.perf_counter()
    metrics = session_metrics(session, (rng.random(len(session)) < 0.2).astype(int), rng.random(len(session)))
    assert time.perf_counter() - started < 10
    assert np.nanmean(metrics["auc"]) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("levels", [2, 1000])
def test_the_streaming_metric_equals_the_mean(levels: int) -> None:
    rng = np.random.default_rng(levels)
    labels, scores = (rng.random((20, 8)) < 0.3).astype(np.float32), rng.integers(0, levels, (20, 8)).astype(np.float32)
    counts = rng.integers(1, 9, 20)
    mask = np.arange(8) < counts[:, None]
    metric = SessionAUC()
    for rows in (slice(0, 7), slice(7, 20)):
        metric.update_state(tf.constant(labels[rows]), tf.constant(scores[rows]), tf.constant(mask[rows]))
    expected = session_metrics(np.repeat(np.arange(20), counts), labels[mask], scores[mask])["auc"]
    assert float(metric.result()) == pytest.approx(np.nanmean(expected), rel=1e-6)
    metric.reset_state()
    assert float(metric.result()) == 0
