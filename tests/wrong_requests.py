"""Requests that are wrong in many ways, drawn at random, for the embedded server."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
from served_requests import predict_request, request_arrays, rest_body
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import predict_pb2

#: Changes a good request into one that is wrong.
_Change = Callable[[predict_pb2.PredictRequest, np.random.Generator], None]
_SIZES = [-(2**40), -1, 0, 1, 3, 7, 2**20, 2**31, 2**40, 2**62]
#: Numbers that must be there and not be negative.
_NUMBERS = ["behavior_price", "behavior_age_days", "candidate_price", "candidate_item_purchases", "user_activity"]


def _name(request: predict_pb2.PredictRequest, rng: np.random.Generator) -> str:
    return str(rng.choice(sorted(request.inputs)))


def _of(request: predict_pb2.PredictRequest, names: list[str], rng: np.random.Generator) -> str:
    return str(rng.choice([name for name in names if name in request.inputs]))


def _drop(request: predict_pb2.PredictRequest, rng: np.random.Generator) -> None:
    del request.inputs[_name(request, rng)]


def _drop_all(request: predict_pb2.PredictRequest, rng: np.random.Generator) -> None:
    request.ClearField("inputs")


def _add(request: predict_pb2.PredictRequest, rng: np.random.Generator) -> None:
    name = str(rng.choice(["", "colour", "behavior_price ", "x" * 5000, "größe"]))
    request.inputs[name].CopyFrom(request.inputs[_name(request, rng)])


def _model(request: predict_pb2.PredictRequest, rng: np.random.Generator) -> None:
    request.model_spec.name = str(rng.choice(["", "other", "awmoe/1", "x" * 20_000, "\n", "größe"]))


def _signature(request: predict_pb2.PredictRequest, rng: np.random.Generator) -> None:
    request.model_spec.signature_name = str(rng.choice(["", "classify", "__saved_model_init_op", "y" * 20_000]))


def _other_signature(request: predict_pb2.PredictRequest, rng: np.random.Generator) -> None:
    other = {"session_gate": "score_items", "score_items": "session_gate"}
    request.model_spec.signature_name = other[request.model_spec.signature_name]


def _version(request: predict_pb2.PredictRequest, rng: np.random.Generator) -> None:
    request.model_spec.version.value = int(rng.choice([-(2**63), -1, 0, 2, 2**62]))


def _label(request: predict_pb2.PredictRequest, rng: np.random.Generator) -> None:
    request.model_spec.version_label = str(rng.choice(["canary", "1", "z" * 20_000]))


def _dtype(request: predict_pb2.PredictRequest, rng: np.random.Generator) -> None:
    tensor = request.inputs[_name(request, rng)]
    # all that TensorFlow has, references to them, and numbers that are none
    tensor.dtype = int(rng.choice([t for t in (*range(32), 101, 107, 999, 2**30) if t != tensor.dtype]))


def _size(request: predict_pb2.PredictRequest, rng: np.random.Generator) -> None:
    dims = request.inputs[_name(request, rng)].tensor_shape.dim
    dim = dims[int(rng.integers(len(dims)))]
    dim.size = int(rng.choice([size for size in _SIZES if size != dim.size]))


def _all_sizes(request: predict_pb2.PredictRequest, rng: np.random.Generator) -> None:
    """Agreed on by all tensors, so that they are asked to be filled; strings never are."""
    size = int(rng.choice([2, 50, 2**19, 2**20, 2**31, 2**40]))
    for tensor in request.inputs.values():
        tensor.tensor_shape.dim[0].size = size
        if tensor.tensor_content or len(tensor.int64_val) > 1 or len(tensor.float_val) > 1:
            tensor.tensor_content = b""
            for field in (tensor.int64_val, tensor.float_val):
                field[:] = field[:1] or [1]
            (tensor.int64_val if tensor.dtype == types_pb2.DT_FLOAT else tensor.float_val)[:] = []


def _rank(request: predict_pb2.PredictRequest, rng: np.random.Generator) -> None:
    shape = request.inputs[_name(request, rng)].tensor_shape
    change = int(rng.integers(3))
    if change == 0:
        shape.dim.add(size=1)
    elif change == 1:
        del shape.dim[-1]
    else:
        shape.ClearField("dim")
        shape.unknown_rank = True


def _values(request: predict_pb2.PredictRequest, rng: np.random.Generator) -> None:
    tensor = request.inputs[_name(request, rng)]
    if tensor.tensor_content:
        cut = int(rng.integers(1, len(tensor.tensor_content)))
        whole = tensor.tensor_content
        tensor.tensor_content = whole[:cut] if rng.random() < 0.5 else whole + b"\0"
    elif tensor.string_val:
        tensor.string_val.append(b"more")
    else:
        field = tensor.int64_val or tensor.float_val
        field[:] = [1] * (len(field) + 2 + int(np.prod([dim.size for dim in tensor.tensor_shape.dim])))


def _other_field(request: predict_pb2.PredictRequest, rng: np.random.Generator) -> None:
    """As many values as there must be, of another type."""
    tensor = request.inputs[_name(request, rng)]
    size = int(np.prod([dim.size for dim in tensor.tensor_shape.dim]))
    for field in ("tensor_content", "string_val", "float_val", "int64_val"):
        tensor.ClearField(field)
    if rng.random() < 0.3:
        tensor.double_val[:] = [1.0] * size
    elif tensor.dtype == types_pb2.DT_INT64:
        tensor.float_val[:] = [1.0] * size
    else:
        tensor.int64_val[:] = [1] * size


def _text_as_content(request: predict_pb2.PredictRequest, rng: np.random.Generator) -> None:
    tensor = request.inputs[_of(request, ["behavior_item_id", "query_terms", "candidate_brand"], rng)]
    tensor.tensor_content = b"\x07" * int(rng.integers(1, 100))
    tensor.ClearField("string_val")


def _count(request: predict_pb2.PredictRequest, rng: np.random.Generator) -> None:
    tensor = request.inputs[_of(request, ["behavior_count", "candidate_count"], rng)]
    tensor.tensor_content = b""
    sessions = tensor.tensor_shape.dim[0].size
    tensor.int64_val[:] = [int(rng.choice([-(2**63), -1, 50, 2**31, 2**62]))] * sessions


def _number(request: predict_pb2.PredictRequest, rng: np.random.Generator) -> None:
    tensor = request.inputs[_of(request, _NUMBERS if "gate" not in request.inputs else [*_NUMBERS, "gate"], rng)]
    tensor.tensor_content = b""
    places = int(np.prod([dim.size for dim in tensor.tensor_shape.dim]))
    tensor.float_val[:] = [float(rng.choice([np.nan, np.inf, -np.inf]))] * places
    # the numbers must be real ones, or they mean nothing
    for name in ("behavior_count", "candidate_count"):
        if name in request.inputs:
            request.inputs[name].tensor_content = b""
            sessions = request.inputs[name].tensor_shape.dim[0].size
            request.inputs[name].int64_val[:] = [1] * sessions


def _filter(request: predict_pb2.PredictRequest, rng: np.random.Generator) -> None:
    request.output_filter.append(str(rng.choice(["", "logits", "w" * 20_000])))


_CHANGES: list[_Change] = [
    *(_drop, _drop_all, _add, _model, _signature, _other_signature, _version, _label, _dtype, _size, _all_sizes),
    *(_rank, _values, _other_field, _text_as_content, _count, _number, _filter),
]


class WrongRequests:
    """Draws wrong requests; the same seed gives the same ones."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        shapes = [(1, 1, 1), (1, 4, 5), (3, 6, 2)]
        self._good = [
            (signature, arrays, predict_request(arrays, signature))
            for signature in ("session_gate", "score_items")
            for arrays in (request_arrays(signature, *shape) for shape in shapes)
        ]

    def message(self) -> tuple[str, bytes]:
        """What was done, and a message of `Predict` that no server may answer OK."""
        rng = self._rng
        _, _, good = self._good[int(rng.integers(len(self._good)))]
        kind = int(rng.integers(len(_CHANGES) + 2))
        if kind == len(_CHANGES):
            whole = good.SerializeToString()
            return "cut", whole[: int(rng.integers(len(whole)))]
        if kind == len(_CHANGES) + 1:
            return "random bytes", rng.bytes(int(rng.integers(1, 300)))
        request = predict_pb2.PredictRequest()
        request.CopyFrom(good)
        _CHANGES[kind](request, rng)
        return _CHANGES[kind].__name__, request.SerializeToString()

    def flipped(self) -> bytes:
        """A message with a few bytes changed: it may have become a good one."""
        whole = bytearray(self._good[int(self._rng.integers(len(self._good)))][2].SerializeToString())
        for _ in range(int(self._rng.integers(1, 4))):
            whole[int(self._rng.integers(len(whole)))] = int(self._rng.integers(256))
        return bytes(whole)

    def rest(self) -> tuple[str, bytes]:
        """A path and a body that no server may answer 200."""
        rng = self._rng
        signature, arrays, _ = self._good[int(rng.integers(len(self._good)))]
        body = rest_body(arrays, signature)
        inputs, path = body["inputs"], "/v1/models/awmoe:predict"
        name = str(rng.choice(sorted(inputs)))
        kind = int(rng.integers(10))
        if kind == 0:
            del inputs[name]
        elif kind == 1:
            inputs["colour"] = inputs[name]
        elif kind == 2:
            inputs[name] = [None, 3, "x", {}, [], [[]], [[[1]]], True, {"b64": 1}][int(rng.integers(9))]
        elif kind == 3:
            inputs[name] = [inputs[name]]
        elif kind == 4:
            inputs[name] = [*inputs[name], inputs[name][0], inputs[name][0]]
        elif kind == 5:
            inputs["behavior_count"] = [float(rng.choice([0.5, 1e300, -1e9]))] * len(inputs["behavior_count"])
        elif kind == 6:
            inputs["behavior_count"] = [int(rng.choice([-1, 51, 2**62]))] * len(inputs["behavior_count"])
        elif kind == 7:
            path = str(rng.choice(["/v1/models/x:predict", "/v1/models/awmoe/versions/77:predict", "/", "/v1/models"]))
        elif kind == 8:
            body["signature_name"] = [None, "", "x", 3, [], {"a": 1}][int(rng.integers(6))]
        else:
            whole = json.dumps(body).encode()
            return path, whole[: int(rng.integers(len(whole)))]
        return path, json.dumps(body).encode()

    def good(self) -> list[tuple[str, dict[str, Any], predict_pb2.PredictRequest]]:
        """Signature, inputs and message of the requests that the wrong ones are made from."""
        return self._good
