"""Requests of the tiny scenario and their right answers, for tests of the embedded server."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from serving.protocol import signature_inputs
from tiny_data import random_raw_sessions, tiny_scenario

SCENARIO = tiny_scenario()
INPUTS = signature_inputs(SCENARIO.features)


def request_arrays(
    signature: str, batch: int = 1, behaviors: int = 4, candidates: int = 5, seed: int = 7
) -> dict[str, np.ndarray]:
    """A good request's inputs by name; strings are `bytes`, as the wire has them."""
    raw: dict[str, np.ndarray] = random_raw_sessions(SCENARIO, batch, behaviors, candidates, seed)
    raw["gate"] = np.random.default_rng(seed).normal(0, 0.5, (batch, 3)).astype(np.float32)
    arrays = {name: raw[name] for name in INPUTS[signature]}
    return {
        name: np.vectorize(str.encode, otypes=[object])(a) if a.dtype == object else a for name, a in arrays.items()
    }


def predict_request(arrays: dict[str, np.ndarray], signature: str) -> predict_pb2.PredictRequest:
    """As gRPC takes it."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "awmoe", signature
    for name, values in arrays.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(values))
    return request


def rest_body(arrays: dict[str, np.ndarray], signature: str) -> dict[str, Any]:
    """As REST takes it."""

    def plain(value: Any) -> Any:
        if isinstance(value, list):
            return [plain(v) for v in value]
        return value.decode() if isinstance(value, bytes) else value

    inputs = {name: plain(values.tolist()) for name, values in arrays.items()}
    return {"signature_name": signature, "inputs": inputs}
