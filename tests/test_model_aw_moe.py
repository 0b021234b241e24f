"""The whole model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from random_run import random_run

from model.ranking_loss import ranking_loss
from model.run_directory import Run
from pipeline.config import Scenario
from tiny_data import random_raw_sessions, tiny_scenario

SMALL = tiny_scenario().model.model_dump(exclude_defaults=True)


def scenario_with(**model: object) -> Scenario:
    return tiny_scenario(model={**SMALL, **model})


def encoded(run: Run, raw: dict[str, np.ndarray]) -> dict[str, tf.Tensor]:
    """Encoded sessions, with the labels and users of a training batch."""
    batch = run.preprocessing({name: tf.constant(values) for name, values in raw.items()})
    labels = np.random.default_rng(1).random((len(raw["candidate_count"]), 64)) < 0.5
    batch["candidate_label"] = tf.constant(labels[:, : raw["candidate_item_id"].shape[1]], tf.float32)
    batch["user_fingerprint"] = tf.range(len(labels), dtype=tf.int64)
    return batch


def padded(raw: dict[str, np.ndarray], behaviors: int, candidates: int) -> dict[str, np.ndarray]:
    """The same sessions with more positions, filled as TensorFlow Serving does: with the first element."""
    widths = {"behavior": behaviors, "candidate": candidates}

    def widen(name: str, values: np.ndarray) -> np.ndarray:
        if values.ndim == 1:
            return values
        more = widths[name.partition("_")[0]] - values.shape[1]
        return np.concatenate([values, np.full((len(values), more), values[0, 0], values.dtype)], axis=1)

    return {name: widen(name, values) for name, values in raw.items()}


@pytest.fixture(scope="module", params=["query", "target_item"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    scenario = scenario_with(gate={**SMALL["gate"], "context": request.param}, embedding_l2=0.01)
    return random_run(scenario, tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def raw() -> dict[str, np.ndarray]:
    return random_raw_sessions(tiny_scenario(), batch=6, behaviors=5, candidates=4, seed=2)


def real_candidates(raw: dict[str, np.ndarray], logits: tf.Tensor) -> np.ndarray:
    return logits.numpy()[np.arange(logits.shape[1]) < raw["candidate_count"][:, None]]


def test_gate_and_scores_apart_equal_the_call(run: Run, raw: dict[str, np.ndarray]) -> None:
    batch = encoded(run, raw)
    gate = run.model.session_gate(batch)
    assert gate.shape == ((6, 3) if run.scenario.model.gate.context == "query" else (6, 4, 3))
    logits = run.model(batch)
    assert logits.shape == (6, 4)
    np.testing.assert_allclose(run.model.score_items(batch, gate), logits, rtol=1e-6, atol=1e-6)


def test_the_session_gate_needs_behaviours_and_query_only(tmp_path: Path, raw: dict[str, np.ndarray]) -> None:
    run = random_run(tiny_scenario(), tmp_path)
    inputs = {spec.name: tf.constant(raw[spec.name]) for spec in run.scenario.features.gate_inputs}
    gate = run.model.session_gate(run.preprocessing(inputs))
    np.testing.assert_array_equal(gate, run.model.session_gate(encoded(run, raw)))
    assert np.ptp(gate.numpy(), axis=0).min() > 1e-4, "the gate does not depend on the session"


def test_padding_changes_no_result_and_no_gradient(run: Run, raw: dict[str, np.ndarray]) -> None:
    wide = padded(raw, behaviors=9, candidates=7)
    results = []
    for values in (raw, wide):
        batch = encoded(run, values)
        with tf.GradientTape() as tape:
            logits = run.model(batch)
            loss = ranking_loss("pointwise", batch["candidate_label"], logits, run.model._real(batch, "candidate"))
            masks = {group: run.model._real(batch, group) for group in ("behavior", "candidate")}
            loss += 0.01 * run.model.embedding.looked_up_norm(batch, masks)
        gradients = tape.gradient(loss, run.model.trainable_variables)
        dense = [tf.convert_to_tensor(gradient).numpy() for gradient in gradients if gradient is not None]
        results.append((real_candidates(values, logits), loss.numpy(), dense))
    (logits, loss, gradients), (wide_logits, wide_loss, wide_gradients) = results
    np.testing.assert_allclose(wide_logits, logits, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(wide_loss, loss, rtol=1e-6)
    for ours, theirs in zip(gradients, wide_gradients, strict=True):
        np.testing.assert_allclose(theirs, ours, rtol=1e-4, atol=1e-6)


def test_a_session_does_not_depend_on_its_batch(run: Run, raw: dict[str, np.ndarray]) -> None:
    together = run.model(encoded(run, raw)).numpy()
    for row in range(6):
        alone = run.model(encoded(run, {name: values[row : row + 1] for name, values in raw.items()}))
        np.testing.assert_allclose(alone[0], together[row], rtol=1e-5, atol=1e-6)


def test_a_new_users_candidates_differ_and_train(run: Run, raw: dict[str, np.ndarray]) -> None:
    assert raw["behavior_count"][1] == 0
    new_user = {name: values[1:2] for name, values in raw.items()}
    batch = encoded(run, new_user)
    with tf.GradientTape() as tape:
        loss = run.model.compute_loss(batch, training=True)
    gradients = tape.gradient(loss, run.model.trainable_variables)
    scores = real_candidates(new_user, run.model(batch))
    assert len(scores) > 1
    assert np.ptp(scores) > 1e-4, f"a new user's candidates all have the same score: {scores}"
    for weight, gradient in zip(run.model.trainable_variables, gradients, strict=True):
        assert gradient is not None, weight.name
        assert np.isfinite(tf.convert_to_tensor(gradient)).all(), weight.name
        if weight is run.model.start_behavior.vector:
            assert tf.reduce_max(tf.abs(gradient)) > 0, "the start behaviour does not train"


def test_the_loss_is_the_mean_over_real_candidates(tmp_path: Path, raw: dict[str, np.ndarray]) -> None:
    run = random_run(scenario_with(name="aw_moe"), tmp_path)
    batch = encoded(run, raw)
    logits = real_candidates(raw, run.model(batch)).astype(np.float64)
    labels = real_candidates(raw, batch["candidate_label"])
    p = 1 / (1 + np.exp(-logits))
    expected = np.mean(-(labels * np.log(p) + (1 - labels) * np.log(1 - p)))
    np.testing.assert_allclose(run.model.compute_loss(batch), expected, rtol=1e-5)


def test_the_loss_parts_add_up(tmp_path: Path, raw: dict[str, np.ndarray]) -> None:
    run = random_run(scenario_with(contrastive={"weight": 0.5}, embedding_l2=0.01), tmp_path)
    batch, model = encoded(run, raw), run.model
    model.reset_metrics()
    total = model.compute_loss(batch, training=False)
    masks = {group: model._real(batch, group) for group in ("behavior", "candidate")}
    means = {name: mean.result() for name, mean in model.loss_means.items()}
    parts = means["ranking_loss"] + 0.5 * means["contrastive_loss"]
    parts += 0.01 * model.embedding.looked_up_norm(batch, masks)
    assert float(means["contrastive_loss"]) > 0
    np.testing.assert_allclose(total, parts, rtol=1e-6)


def test_training_computes_the_gate_once_a_session(
    tmp_path: Path, raw: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = random_run(tiny_scenario(), tmp_path)
    shapes, contributions = [], run.model.gate_network.contributions

    def recorded(behaviors: tf.Tensor, context: tf.Tensor) -> tf.Tensor:
        result = contributions(behaviors, context)
        shapes.append(tuple(result.shape))
        return result

    monkeypatch.setattr(run.model.gate_network, "contributions", recorded)
    run.model.compute_loss(encoded(run, raw), training=True)
    assert shapes == [(6, 5 + 1, 3)], "expected one gate computation a batch, [B, T+1, K]"


@pytest.mark.parametrize("gate_unit", [True, False])
@pytest.mark.parametrize("activation_unit", [True, False])
@pytest.mark.parametrize("context", ["query", "target_item"])
def test_every_ablation_scores(
    tmp_path: Path, raw: dict[str, np.ndarray], gate_unit: bool, activation_unit: bool, context: str
) -> None:
    gate = {"gate_unit": gate_unit, "activation_unit": activation_unit, "context": context, "unit_layers": (4,)}
    run = random_run(scenario_with(gate=gate), tmp_path)
    batch = encoded(run, raw)
    assert np.isfinite(run.model.compute_loss(batch, training=True))
    assert np.ptp(run.model(batch).numpy()) > 0


def test_a_scenario_without_query_user_and_cross_features(tmp_path: Path) -> None:
    full = tiny_scenario()
    features = full.features.model_dump(mode="json", exclude_defaults=True)
    features |= {"query": {}, "user": {}, "cross": {}}
    features["as_of"].pop("activity")
    for unused in ("term", "age_group"):
        features["tables"].pop(unused)
    scenario = tiny_scenario(
        features=features, model={**SMALL, "gate": {"context": "target_item"}}, evaluation={"slices": []}
    )
    run = random_run(scenario, tmp_path)
    raw = random_raw_sessions(scenario, batch=3, behaviors=2, candidates=3, seed=0)
    assert np.isfinite(run.model.compute_loss(encoded(run, raw), training=True))
