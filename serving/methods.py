"""The two methods of TensorFlow Serving that the client calls: paths, messages, and what is told of a call."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, NamedTuple

from serving import wire_pb2
from serving.call import Call, CallRecord
from serving.connection import SERVICE
from serving.errors import RankingError

_log = logging.getLogger(__name__)


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


def callables(channel: Any) -> dict[str, Any]:
    """The methods on a channel, of threads or of asyncio, by their names in `METHODS`."""
    return {
        name: channel.unary_unary(
            method.path,
            request_serializer=method.request.SerializeToString,
            response_deserializer=method.response.FromString,
        )
        for name, method in METHODS.items()
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


def tell(watch: Callable[[CallRecord], None] | None, record: CallRecord) -> None:
    """Tells who watches, if anybody does, of a call."""
    if watch is None:
        return
    try:
        watch(record)
    except Exception:  # who watches must not break what is watched
        _log.exception("on_call failed")
