"""Each of the five models as a SavedModel (AW-MoE & CL is that of `test_export_publish.py`)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from random_run import random_run
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from export.publish import export
from model.run_directory import Run
from pipeline.errors import InputError
from serving.server import ModelServer
from tiny_data import category_scenario, random_raw_sessions

SPARSE = {"top_k": 2, "noise": 1.0, "load_balance": 0.1}


def raw_sessions(run: Run) -> dict[str, np.ndarray]:
    return random_raw_sessions(run.scenario, batch=4, behaviors=3, candidates=5, seed=1)


def trained(run: Run, raw: dict[str, np.ndarray]) -> tuple[tf.Tensor, tf.Tensor]:
    """Gate and scores of the model itself."""
    encoded = run.preprocessing({name: tf.constant(values) for name, values in raw.items()})
    gate = run.model.session_gate(encoded)
    return gate, run.model.scores(run.model.score_items(encoded, gate))


def gate_inputs(run: Run, raw: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {spec.name: raw[spec.name] for spec in run.scenario.features.gate_inputs}


@pytest.mark.parametrize(
    ("model", "width"),
    [
        ({"name": "dnn"}, 1),
        ({"name": "category_moe", "experts": SPARSE, "category_gate": {"parent": "query_parent"}}, 4),
        ({"name": "aw_moe", "experts": SPARSE}, 4),
    ],
    ids=["dnn", "category_moe", "aw_moe"],
)
def test_the_export_has_two_signatures_and_the_trained_scores(
    model: dict[str, Any], width: int, tmp_path: Path
) -> None:
    run = random_run(category_scenario(**model), tmp_path / "data")
    loaded = tf.saved_model.load(str(export(run, tmp_path / "models")))
    assert set(loaded.signatures) == {"session_gate", "score_items"}

    raw = raw_sessions(run)
    expected_gate, expected_scores = trained(run, raw)
    tensors = {name: tf.constant(values) for name, values in raw.items()}
    gate = loaded.signatures["session_gate"](**{name: tensors[name] for name in gate_inputs(run, raw)})["gate"]
    scores = loaded.signatures["score_items"](gate=gate, **tensors)["scores"]
    assert gate.shape == (4, width)
    if run.scenario.model.experts.top_k:
        assert (np.count_nonzero(gate, axis=1) == 2).all()
    real = np.arange(5) < raw["candidate_count"][:, None]
    assert np.ptp(scores.numpy()[real]) > 0.05, "the scores hardly differ, so equality shows little"
    np.testing.assert_allclose(gate, expected_gate, atol=1e-5)
    np.testing.assert_allclose(scores.numpy()[real], expected_scores.numpy()[real], atol=1e-5)
    assert not any("parent_gate" in weight.name for weight in loaded.weights), "a weight of training alone is saved"


def test_the_server_takes_dins_gate_of_width_1(tmp_path: Path) -> None:
    run = random_run(category_scenario(name="din"), tmp_path / "data")
    raw, version = raw_sessions(run), export(run, tmp_path / "models")
    expected_gate, expected_scores = trained(run, raw)

    def predict(signature: str, inputs: dict[str, np.ndarray]) -> np.ndarray:
        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = "awmoe", signature
        for name, values in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(values))
        (output,) = stub.Predict(request, timeout=10).outputs.values()
        return tf.make_ndarray(output)

    with ModelServer(version.parent) as server, grpc.insecure_channel(server.target) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        gate = predict("session_gate", gate_inputs(run, raw))
        np.testing.assert_array_equal(gate, expected_gate)
        scores = predict("score_items", {**raw, "gate": gate})
        real = np.arange(5) < raw["candidate_count"][:, None]
        np.testing.assert_allclose(scores[real], expected_scores.numpy()[real], atol=1e-5)
        with pytest.raises(grpc.RpcError, match="input `gate`: K is 4, but 1 in the model"):
            predict("score_items", {**raw, "gate": np.ones((4, 4), np.float32)})


def test_a_gate_on_a_candidates_category_cannot_be_exported(tmp_path: Path) -> None:
    run = random_run(category_scenario(name="din"), tmp_path / "data")
    scenario = category_scenario(name="category_moe", category_gate={"feature": "candidate_brand"})
    with pytest.raises(
        InputError,
        match=r"model.category_gate.feature: candidate_brand .*no session gate.*train with a query's category",
    ):
        export(replace(run, scenario=scenario), tmp_path / "models")
    assert not (tmp_path / "models").exists()
