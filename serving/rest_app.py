"""TensorFlow Serving's REST API as an aiohttp application."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from functools import partial
from typing import Any, NoReturn

import grpc
from aiohttp import web
from google.protobuf import json_format
from google.protobuf.message import Message
from prometheus_client import CONTENT_TYPE_LATEST
from tensorflow_serving.apis import get_model_metadata_pb2

from serving.json_inputs import json_inputs
from serving.model_choice import ModelChoice
from serving.model_metadata import SIGNATURE_DEF, model_metadata
from serving.model_status import model_status
from serving.predict_call import PredictCall
from serving.predictor import Prediction, Predictor
from serving.serving_error import ServingError

_log = logging.getLogger(__name__)
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_HTTP_CODES = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}
_INSTANCES = (
    "`instances` (row format) is not supported: a session's candidates are lists of their own; send columnar "
    '`inputs`, {"signature_name": "score_items", "inputs": {"candidate_count": [2], ...}}'
)
#: Seconds for the body to arrive after the headers.
_BODY_SECONDS = 30.0


def rest_app(predictor: Predictor, threads: Executor, max_request_bytes: int) -> web.Application:
    """Predict, status and metadata under `/v1/models/`, metrics under `/monitoring/prometheus/metrics`.

    Errors are `{"error": "..."}`, with the HTTP code that goes with the gRPC status.

    Args:
        predictor: answers.
        threads: parse and check requests, so that a large one does not hold up the others.
        max_request_bytes: of a body.
    """
    app = web.Application(client_max_size=max_request_bytes, middlewares=[_errors_as_json])
    for path in ("/v1/models/{name}", "/v1/models/{name}/versions/{version}", "/v1/models/{name}/labels/{label}"):
        app.router.add_post(f"{path}:predict", partial(_predict, predictor, threads))
        app.router.add_get(f"{path}:predict", _only_post)
        app.router.add_get(path, partial(_status, predictor))
        app.router.add_get(f"{path}/metadata", partial(_metadata, predictor))
    app.router.add_get("/monitoring/prometheus/metrics", partial(_metrics, predictor))
    return app


async def _only_post(request: web.Request) -> web.Response:
    """Without it the model's name would be `awmoe:predict`."""
    raise web.HTTPMethodNotAllowed(request.method, ["POST"])


async def _predict(predictor: Predictor, threads: Executor, request: web.Request) -> web.Response:
    choice = _choice(request)
    try:
        body = await asyncio.wait_for(request.read(), _BODY_SECONDS)
    except TimeoutError:
        raise ServingError(
            grpc.StatusCode.DEADLINE_EXCEEDED, f"the body did not arrive within {_BODY_SECONDS:g} s"
        ) from None
    loop = asyncio.get_running_loop()
    call = await loop.run_in_executor(threads, _call, choice, body)
    prediction = await predictor.predict_async(call, threads)
    return web.json_response(body=await loop.run_in_executor(threads, _answer, prediction))


def _call(choice: ModelChoice, body: bytes) -> PredictCall:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:  # ValueError: no JSON, no UTF-8, an integer of too many digits
        _refuse(f"the body is no JSON: {error}")
    if not isinstance(content, dict):
        _refuse('the body must be an object: {"signature_name": ..., "inputs": {...}}')
    if "instances" in content:
        _refuse(_INSTANCES)
    if "inputs" not in content:
        _refuse('the body has no `inputs`: {"signature_name": ..., "inputs": {...}}')
    signature = content.get("signature_name") or "serving_default"
    if not isinstance(signature, str):
        _refuse("`signature_name` must be a string")
    return PredictCall(choice, signature, partial(json_inputs, content["inputs"]))


def _answer(prediction: Prediction) -> bytes:
    # a signature with one output answers it without its name, as TensorFlow Serving does
    outputs: Any = {name: values.tolist() for name, values in prediction.outputs.items()}
    if len(outputs) == 1:
        (outputs,) = outputs.values()
    return json.dumps({"outputs": outputs}).encode()


async def _status(predictor: Predictor, request: web.Request) -> web.Response:
    return web.json_response(_as_dict(model_status(predictor.versions, _choice(request))))


async def _metadata(predictor: Predictor, request: web.Request) -> web.Response:
    answer = model_metadata(predictor.versions, _choice(request))
    signatures = get_model_metadata_pb2.SignatureDefMap()
    answer.metadata[SIGNATURE_DEF].Unpack(signatures)
    spec = {"name": answer.model_spec.name, "signature_name": "", "version": str(answer.model_spec.version.value)}
    return web.json_response({"model_spec": spec, "metadata": {SIGNATURE_DEF: _as_dict(signatures)}})


async def _metrics(predictor: Predictor, request: web.Request) -> web.Response:
    return web.Response(body=predictor.metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})


@web.middleware
async def _errors_as_json(request: web.Request, handler: _Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except ServingError as error:
        return _error(_HTTP_CODES.get(error.code, 500), error.message)
    except web.HTTPException as error:  # no such path, another method, a body that is too large
        return _error(error.status, error.text or error.reason)
    except web.RequestPayloadError as error:  # a body that is not encoded as its headers say
        return _error(400, f"the body cannot be read: {error}")
    except Exception:
        _log.exception("%s %s failed", request.method, request.path)
        return _error(500, "the server failed on this request; its log has the reason")


def _choice(request: web.Request) -> ModelChoice:
    match = request.match_info
    version = match.get("version")
    # a version is written as Python writes an integer; what no int64 holds is none that there can be
    if version is not None and not (version.isascii() and version.isdecimal() and len(version) < 19):
        _refuse(f"`{version}` is no version number")
    return ModelChoice(match["name"], None if version is None else int(version), match.get("label"))


def _refuse(reason: str) -> NoReturn:
    raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, reason)


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"error": message}, status=status)


def _as_dict(message: Message) -> dict[str, Any]:
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
