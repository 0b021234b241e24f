"""The two methods of TensorFlow Serving that the client calls, by their paths on the wire."""

from __future__ import annotations

from typing import Any, NamedTuple

from serving import wire_pb2
from serving.call import Call, CallRecord
from serving.connection import SERVICE
from serving.errors import RankingError


class Method(NamedTuple):
    """A method's path and messages."""

    path: str
    request: Any
    response: Any


METHODS = {
    "Predict": Method(f"/{SERVICE}/Predict", wire_pb2.PredictRequest, wire_pb2.PredictResponse),
    "GetModelMetadata": Method(
        f"/{SERVICE}/GetModelMetadata", wire_pb2.GetModelMetadataRequest, wire_pb2.GetModelMetadataResponse
    ),
}


def call_record(call: Call, answer: Any, seconds: float) -> CallRecord:
    """What became of a call."""
    failed = isinstance(answer, RankingError)
    return CallRecord(
        signature=call.request.model_spec.signature_name,
        candidates=call.candidates,
        seconds=seconds,
        code=answer.code if failed else "OK",
        version=None if failed else answer.model_spec.version.value,
    )
