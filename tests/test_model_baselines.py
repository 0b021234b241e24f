"""The five models, with the options of each: what holds for all, and what is each one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import tensorflow as tf
import yaml
from random_run import random_run

from model.ranking_loss import ranking_loss
from model.run_directory import Run, load_run, load_weights, new_run, save_weights
from model.training.train import train
from pipeline.config import ModelName, Scenario
from pipeline.errors import InputError
from pipeline.scenario_file import dump_scenario, parse_scenario
from tiny_data import category_scenario, random_raw_sessions, write_tiny_data

NAMES = get_args(ModelName)
SPARSE = {"top_k": 2, "noise": 0.5, "load_balance": 0.1, "adversarial": 0.1, "disagreeing": 2}
OF_CANDIDATES = {"feature": "candidate_brand", "parent": "candidate_item_id"}
MODELS: dict[str, dict[str, Any]] = {
    "dnn": {"name": "dnn"},
    "din": {"name": "din"},
    "category_moe": {"name": "category_moe"},
    "category_moe sparse": {"name": "category_moe", "experts": SPARSE, "category_gate": {"parent": "query_parent"}},
    "category_moe of candidates": {
        "name": "category_moe",
        "category_gate": OF_CANDIDATES,
        "experts": {"load_balance": 0.1},
    },
    "aw_moe": {"name": "aw_moe"},
    "aw_moe sparse": {"name": "aw_moe", "experts": SPARSE},
    "aw_moe of candidates": {
        "name": "aw_moe",
        "experts": {"top_k": 2, "load_balance": 0.1},
        "gate": {"context": "target_item"},
    },
    "aw_moe_cl": {"name": "aw_moe_cl", "contrastive": {"augmentations": ["mask", "crop", "reorder"]}},
}
B, T, N = 6, 5, 4


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module", params=MODELS)
def run(request: pytest.FixtureRequest, data: Path) -> Run:
    return random_run(category_scenario(**MODELS[request.param]), data)


@pytest.fixture(scope="module")
def raw() -> dict[str, np.ndarray]:
    return random_raw_sessions(category_scenario(), batch=B, behaviors=T, candidates=N, seed=2)


def encoded(run: Run, raw: dict[str, np.ndarray]) -> dict[str, tf.Tensor]:
    """A training batch: every other candidate is positive, and no two sessions are of one user."""
    batch = run.preprocessing({name: tf.constant(values) for name, values in raw.items()})
    sessions, candidates = raw["candidate_item_id"].shape
    batch["candidate_label"] = tf.constant(np.indices((sessions, candidates)).sum(axis=0) % 2, tf.float32)
    batch["user_fingerprint"] = tf.range(sessions, dtype=tf.int64)
    return batch


def real(raw: dict[str, np.ndarray], values: tf.Tensor) -> np.ndarray:
    return values.numpy()[np.arange(values.shape[1]) < raw["candidate_count"][:, None]]


def losses(run: Run, batch: dict[str, tf.Tensor], training: bool = False) -> dict[str, float]:
    run.model.reset_metrics()
    run.model.compute_loss(batch, training=training)
    return {name: float(mean.result()) for name, mean in run.model.loss_means.items()}


def scenario_of(run: Run) -> tuple[str, bool]:
    """The model's name, and whether it has a gate for each candidate."""
    return run.scenario.model.name, run.scenario.model.gate_per_candidate


def test_gate_and_scores_apart_equal_the_call(run: Run, raw: dict[str, np.ndarray]) -> None:
    batch, model = encoded(run, raw), run.scenario.model
    gate = run.model.session_gate(batch)
    assert gate.shape == ((B, N) if model.gate_per_candidate else (B,)) + (model.expert_count,)
    scores = run.model.score_items(batch, gate)
    np.testing.assert_allclose(scores, run.model(batch), rtol=1e-6, atol=1e-6)
    assert np.ptp(real(raw, scores)) > 0.1, "the scores hardly differ, so equality shows little"
    if model.experts.top_k:
        assert (np.count_nonzero(gate, axis=-1) == model.experts.top_k).all()
    # Eq. 9 with the scores of all experts: those that a sparse gate leaves out have no part.
    experts = run.model._expert_scores(
        batch, run.model._session(batch), run.model._candidates(batch), tf.ones([1, 1, 1])
    )
    weights = gate if model.gate_per_candidate else gate[:, tf.newaxis]
    np.testing.assert_allclose(scores, tf.reduce_sum(weights * experts, axis=-1), rtol=1e-5, atol=1e-5)


def test_padding_changes_no_result(run: Run, raw: dict[str, np.ndarray]) -> None:
    more = {"T": ((0, 0), (0, 4)), "N": ((0, 0), (0, 3))}
    axes = {spec.name: spec.axis for spec in run.scenario.features.score_inputs}
    wide = {
        name: np.pad(values, more[axes[name]], constant_values=values.flat[0]) if axes[name] else values
        for name, values in raw.items()
    }
    expected = real(raw, run.model(encoded(run, raw)))
    np.testing.assert_allclose(real(raw, run.model(encoded(run, wide))), expected, rtol=1e-5, atol=1e-6)
    by_chance = {"contrastive_loss", "adversarial_loss", "loss"}
    narrow, padded = losses(run, encoded(run, raw)), losses(run, encoded(run, wide))
    for name in narrow.keys() - by_chance:
        assert padded[name] == pytest.approx(narrow[name], rel=1e-5), name


def test_a_session_does_not_depend_on_its_batch(run: Run, raw: dict[str, np.ndarray]) -> None:
    together = run.model(encoded(run, raw)).numpy()
    for row in (1, 2):
        alone = run.model(encoded(run, {name: values[row : row + 1] for name, values in raw.items()}))
        np.testing.assert_allclose(alone[0], together[row], rtol=1e-5, atol=1e-6)


def test_a_new_users_candidates_differ_and_train(run: Run, raw: dict[str, np.ndarray]) -> None:
    assert raw["behavior_count"][1] == 0
    new_user = {name: values[1:2] for name, values in raw.items()}
    scores = real(new_user, run.model(encoded(run, new_user)))
    assert len(scores) > 1
    assert np.ptp(scores) > 1e-4, f"a new user's candidates all have the same score: {scores}"
    # With a second session, without which neither a gate of another user nor a choice of experts is left.
    batch = encoded(run, {name: values[1:3] for name, values in raw.items()})
    with tf.GradientTape() as tape:
        loss = run.model.compute_loss(batch, training=True)
    assert np.isfinite(loss)
    weights = run.model.trainable_variables
    for weight, gradient in zip(weights, tape.gradient(loss, weights), strict=True):
        assert gradient is not None, f"{weight.name} does not train"
        assert np.isfinite(tf.convert_to_tensor(gradient)).all(), weight.name


def test_the_loss_is_the_weighted_sum_of_its_parts(run: Run, raw: dict[str, np.ndarray]) -> None:
    model, parts = run.scenario.model, losses(run, encoded(run, raw), training=True)
    weights = {
        "ranking_loss": 1.0,
        "contrastive_loss": model.contrastive.weight if model.name == "aw_moe_cl" else 0,
        "hierarchy_loss": model.category_gate.hierarchy_weight if model.category_gate.parent else 0,
        "load_balance_loss": model.experts.load_balance,
        "adversarial_loss": model.experts.adversarial,
    }
    assert parts.keys() == {"loss"} | {name for name, weight in weights.items() if weight}
    assert parts["loss"] == pytest.approx(
        sum(weights[name] * parts[name] for name in parts.keys() - {"loss"}), rel=1e-5
    )
    assert all(value != 0 for value in parts.values()), parts


def test_the_scenario_survives_a_round_trip(run: Run) -> None:
    assert parse_scenario(yaml.safe_load(dump_scenario(run.scenario)), "dump") == run.scenario


def test_a_fresh_run_with_the_saved_weights_scores_the_same(
    run: Run, raw: dict[str, np.ndarray], tmp_path: Path
) -> None:
    batch = encoded(run, raw)
    losses(run, batch, training=True)  # makes whatever a loss would make late
    save_weights(run.model, tmp_path)
    fresh = new_run(run.scenario, run.assets)
    assert np.abs(fresh.model(batch) - run.model(batch)).max() > 0.1
    load_weights(fresh.model, tmp_path)
    np.testing.assert_allclose(fresh.model(batch), run.model(batch), rtol=1e-6, atol=1e-6)
    for ours, theirs in zip(fresh.model.trainable_variables, run.model.trainable_variables, strict=True):
        np.testing.assert_array_equal(ours, theirs, err_msg=ours.name)


def test_weights_of_another_model_are_refused(data: Path, tmp_path: Path) -> None:
    """`aw_moe` and `aw_moe_cl` have the same weights: the loss alone tells them apart."""
    runs = {name: random_run(category_scenario(name=name), data) for name in NAMES if name != "aw_moe_cl"}
    for name, run in runs.items():
        (tmp_path / name).mkdir()
        save_weights(run.model, tmp_path / name)
    for name in runs:
        for other in runs.keys() - {name}:
            with pytest.raises(InputError, match="broken, or not of the run's scenario"):
                load_weights(runs[other].model, tmp_path / name)


def test_training_in_a_graph_writes_a_run_that_loads(tmp_path: Path) -> None:
    """With every option of AW-MoE & CL at once."""
    scenario = category_scenario(**{**MODELS["aw_moe sparse"], **MODELS["aw_moe_cl"]})
    prepared = write_tiny_data(tmp_path / "data", scenario, sessions=32)
    history = train(scenario, prepared, tmp_path / "run", verbose=0)
    assert all(np.isfinite(values).all() for values in history.values()), history
    assert {"contrastive_loss", "load_balance_loss", "adversarial_loss"} < history.keys()
    loaded = load_run(tmp_path / "run")
    raw = random_raw_sessions(scenario, batch=3, behaviors=2, candidates=3, seed=0)
    assert np.isfinite(loaded.model(encoded(loaded, raw))).all()


def test_category_moe_trains_in_a_graph(data: Path, raw: dict[str, np.ndarray]) -> None:
    run = random_run(category_scenario(**MODELS["category_moe sparse"]), data)
    weights = run.model.trainable_variables

    @tf.function
    def gradients(batch: dict[str, tf.Tensor]) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            loss = run.model.compute_loss(batch, training=True)
        return [tf.convert_to_tensor(gradient) for gradient in tape.gradient(loss, weights)]

    for weight, gradient in zip(weights, gradients(encoded(run, raw)), strict=True):
        assert np.isfinite(gradient).all(), weight.name
        assert np.abs(gradient).max() > 0, f"{weight.name} does not train"


@pytest.mark.parametrize("loss", ["pointwise", "listwise", "pairwise"])
def test_the_loss_that_the_scenario_names_is_taken(loss: str, data: Path, raw: dict[str, np.ndarray]) -> None:
    scenario = category_scenario(name="din")
    scenario = scenario.model_copy(update={"training": scenario.training.model_copy(update={"loss": loss})})
    run = random_run(scenario, data)
    batch = encoded(run, raw)
    is_real = tf.sequence_mask(raw["candidate_count"], N)
    expected = float(ranking_loss(loss, batch["candidate_label"], run.model(batch), is_real))
    assert losses(run, batch)["loss"] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("name", "attends"), [("dnn", False), ("din", True)])
def test_dnn_pools_alike_for_all_candidates_and_din_by_candidate(
    name: str, attends: bool, data: Path, raw: dict[str, np.ndarray]
) -> None:
    run = random_run(category_scenario(name=name), data)
    batch, model = encoded(run, raw), run.model
    session = model._session(batch)
    vectors, _ = model.input_network(*session[:2], model._candidates(batch), session.query, None)
    interest = vectors.numpy()[:1, :, :8]  # of a session with behaviours; the rest is the candidate's
    assert (np.ptp(interest, axis=1).max() > 1e-3) == attends
    if not attends:
        pooled = (model.input_network.behavior_mlp(session.behaviors) * session.mask[..., tf.newaxis])[0]
        np.testing.assert_allclose(interest[0], [np.sum(pooled, axis=0)] * N, rtol=1e-5)


@pytest.mark.parametrize("name", ["dnn", "din"])
def test_dnn_and_din_are_one_expert_of_weight_1(name: str, data: Path, raw: dict[str, np.ndarray]) -> None:
    run = random_run(category_scenario(name=name), data)
    batch = encoded(run, raw)
    gate = run.model.session_gate(batch)
    np.testing.assert_array_equal(gate, np.ones((B, 1)))
    np.testing.assert_array_equal(run.model(batch), run.model.expert_scores(batch, gate)[..., 0])


@pytest.mark.parametrize("top_k", [None, 2])
def test_category_moes_gate_is_a_softmax_of_the_querys_category_alone(
    top_k: int | None, data: Path, raw: dict[str, np.ndarray]
) -> None:
    run = random_run(category_scenario(name="category_moe", experts={"top_k": top_k}), data)
    batch = encoded(run, raw)
    gate = run.model.session_gate(batch).numpy()
    logits = tf.gather(run.model.embedding.tables["category"], batch["query_category"]).numpy()
    logits = logits @ run.model.category_gate.linear.kernel.numpy()
    weights = np.exp(logits) * (logits >= np.sort(logits)[:, [-(top_k or 4)]])
    np.testing.assert_allclose(gate, weights / weights.sum(axis=1, keepdims=True), rtol=1e-5)
    np.testing.assert_allclose(gate.sum(axis=1), 1, rtol=1e-6)

    other = random_raw_sessions(run.scenario, batch=B, behaviors=T, candidates=N, seed=9)
    other["query_category"] = raw["query_category"]
    np.testing.assert_array_equal(run.model.session_gate(encoded(run, other)), gate)
    other["query_category"] = np.roll(raw["query_category"], 1)
    assert np.abs(run.model.session_gate(encoded(run, other)) - gate).max() > 1e-2


@pytest.mark.parametrize("top_k", [None, 2])
def test_category_moes_terms_equal_arithmetic(top_k: int | None, data: Path, raw: dict[str, np.ndarray]) -> None:
    experts = {"top_k": top_k, "load_balance": 0.1, "adversarial": 0.1, "disagreeing": 2 if top_k else 3}
    run = random_run(
        category_scenario(name="category_moe", experts=experts, category_gate={"parent": "query_parent"}), data
    )
    batch, parts = encoded(run, raw), losses(run, encoded(run, raw))
    gate = run.model.session_gate(batch).numpy()
    parent = tf.gather(run.model.embedding.tables["parent"], batch["query_parent"]).numpy()
    parent = tf.nn.softmax(parent @ run.model.parent_gate.linear.kernel.numpy()).numpy()
    assert parts["hierarchy_loss"] == pytest.approx(
        (np.square(parent - gate) * (gate > 0)).sum(axis=1).mean(), rel=1e-5
    )
    importance = gate.sum(axis=0)
    assert parts["load_balance_loss"] == pytest.approx((importance.std() / importance.mean()) ** 2, rel=1e-5)

    # All experts that may be drawn are: those that are idle, or but for the top one all.
    model = run.model
    everything = model._expert_scores(batch, model._session(batch), model._candidates(batch), tf.ones([1, 1, 1]))
    p, top = tf.sigmoid(everything).numpy(), gate.argmax(axis=1)
    squares = np.square(p - np.take_along_axis(p, top[:, None, None], axis=2))
    disagree = gate == 0 if top_k else np.arange(4) != top[:, None]
    expected = -real(raw, tf.constant((squares * disagree[:, None]).sum(axis=2))).mean()
    assert parts["adversarial_loss"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", ["category_moe", "aw_moe"])
def test_noise_is_of_training_alone(name: str, data: Path, raw: dict[str, np.ndarray]) -> None:
    run = random_run(category_scenario(name=name, experts={"top_k": 2, "noise": 5.0}), data)
    batch = encoded(run, raw)
    np.testing.assert_array_equal(run.model(batch), run.model(batch))
    one, other = (run.model(batch, training=True).numpy() for _ in range(2))
    assert (one != other).any()


def test_an_idle_expert_trains_by_the_adversarial_term(data: Path, raw: dict[str, np.ndarray]) -> None:
    """One session: the expert that it does not use has no part in its ranking loss."""
    session = {name: values[:1] for name, values in raw.items()}
    trained = {}
    for weight in (0.0, 0.1):
        experts = {"top_k": 3, "adversarial": weight}
        run = random_run(category_scenario(name="aw_moe", experts=experts), data)
        batch = encoded(run, session)
        (idle,) = np.flatnonzero(run.model.session_gate(batch)[0] == 0)
        with tf.GradientTape() as tape:
            loss = run.model.compute_loss(batch, training=True)
        gradient = tape.gradient(loss, run.model.experts.upper_kernels[-1]).numpy()
        trained[weight] = bool(gradient[idle].any())
    assert trained == {0.0: False, 0.1: True}


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"experts": {"top_k": 4}}, r"model.experts.*top_k: must be below count \(4\), not 4; leave it out for all"),
        ({"experts": {"top_k": 0}}, r"model.experts.top_k.*greater than or equal to 1 \(got 0\)"),
        ({"experts": {"noise": 1.0}}, "noise: is of a sparse gate; give `top_k` too"),
        ({"experts": {"adversarial": 0.1, "disagreeing": 4}}, r"disagreeing: must be at most count - 1 \(3\), not 4"),
        (
            {"experts": {"adversarial": 0.1, "disagreeing": 3, "top_k": 2}},
            r"disagreeing: must be at most count - top_k \(2\), not 3",
        ),
        ({"name": "dnn", "experts": {"top_k": 2}}, "experts.top_k: dnn has one expert; leave it out"),
        ({"name": "din", "experts": {"load_balance": 0.1}}, "experts.load_balance: din has one expert"),
        ({"name": "din", "experts": {"adversarial": 0.1}}, "experts.adversarial: din has one expert"),
        ({"name": "moe"}, r"model.name.*'dnn', 'din', 'category_moe', 'aw_moe' or 'aw_moe_cl' \(got 'moe'\)"),
        (
            {"name": "category_moe", "category_gate": {"feature": "query_colour"}},
            "category_gate.feature: `query_colour` is none of query_category, query_parent, candidate_item_id",
        ),
        (
            {"name": "category_moe", "category_gate": {"feature": "query_terms"}},
            "category_gate.feature: `query_terms` is none of",
        ),
        (
            {"name": "category_moe", "category_gate": {"parent": "candidate_brand"}},
            "category_gate.parent: `candidate_brand` must be of the group that `query_category` is of",
        ),
        ({"contrastive": {"augmentations": []}}, "contrastive.augmentations.*at least 1 item"),
        ({"contrastive": {"augmentations": ["shuffle"]}}, "augmentations.0.*'mask', 'crop' or 'reorder'"),
    ],
)
def test_an_impossible_combination_is_refused(model: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        category_scenario(**model)


def without_ages(augmentations: list[str], name: str = "aw_moe_cl") -> Scenario:
    raw = yaml.safe_load(dump_scenario(category_scenario(name=name, contrastive={"augmentations": augmentations})))
    del raw["features"]["behavior"]["age_days"]
    raw["features"]["cross"] = {"price_ratio": raw["features"]["cross"]["price_ratio"]}
    return parse_scenario(raw, "without ages")


def test_reorder_needs_ages() -> None:
    with pytest.raises(InputError, match=r"augmentations: reorder needs features.behavior.age_days"):
        without_ages(["mask", "reorder"])
    without_ages(["mask", "crop"])
    without_ages(["reorder"], name="aw_moe")  # which has no contrastive loss
