"""What a session asks of the servers, step by step, without saying how it is sent.

A step yields calls that go out together and gets their answers, in order: a response, or the error that came in its
place. `SessionRanker` sends them from threads, `AsyncSessionRanker` on an event loop.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from pipeline.features import Features
from serving import wire_pb2
from serving.call import Call
from serving.errors import RankingError
from serving.gate_cache import Gate, GateCache
from serving.protocol import GATE, OUTPUTS, SCORES, signature_inputs
from serving.request import Session, Values, gate_request, score_request, split_candidates
from serving.tensors import DTYPES, float_array

T = TypeVar("T")
#: Calls out, answers in; returns its result.
Steps = Generator[list[Call], list[Any], T]


@dataclass
class ServedModel:
    """The model that a client ranks with.

    Attributes:
        features: the declaration it was trained with.
        name: the served model's.
        version_label: of the version that computes gates, such as `canary`; None: the newest.
        page_size: candidates of one call; longer lists become several calls at once.
        cache: of gates by session.
        checked: whether the servers were asked what the model takes.
    """

    features: Features
    name: str
    version_label: str | None
    page_size: int
    cache: GateCache | None
    checked: bool = False


@dataclass
class SessionState:
    """A session with its gate; `key` names it in the cache."""

    session: Session
    key: str | None
    gate: Gate = field(init=False)


def open_session(model: ServedModel, state: SessionState) -> Steps[None]:
    """The session's gate, from the cache or a server.

    Raises:
        RequestError: a value of the session is wrong; nothing was sent.
        RankingError: no usable answer.
    """
    request = gate_request(model.features, state.session, model=model.name, version_label=model.version_label)
    query = _query_of(model, request)
    if model.cache is not None and state.key is not None and (known := model.cache.get(state.key, query)):
        state.gate = known
        return
    if not model.checked:
        yield from _check_model(model)
        model.checked = True
    yield from _new_gate(model, state)


def score(model: ServedModel, state: SessionState, candidates: Sequence[Values]) -> Steps[np.ndarray]:
    """Scores `[N]`, all of one version: where that of the gate is gone, of the one that serves now.

    Raises:
        RequestError: no candidates, or a value is wrong; nothing was sent.
        RankingError: no usable answer.
    """
    calls = _score_calls(model, state, candidates)
    answers = yield calls
    if any(isinstance(answer, RankingError) and answer.code == "NOT_FOUND" for answer in answers):
        # A roll-out passed the version. Experts of two versions do not match: all pages are scored again.
        yield from _new_gate(model, state)
        calls = _score_calls(model, state, candidates)
        answers = yield calls
    scores = [_output(answer, SCORES, call.candidates) for answer, call in zip(answers, calls, strict=True)]
    return np.concatenate(scores)


def _new_gate(model: ServedModel, state: SessionState) -> Steps[None]:
    request = gate_request(model.features, state.session, model=model.name, version_label=model.version_label)
    (answer,) = yield [Call("Predict", request)]
    values = _output(answer, GATE)
    state.gate = Gate(values, answer.model_spec.version.value)
    if model.cache is not None and state.key is not None:
        model.cache.put(state.key, _query_of(model, request), state.gate)


def _query_of(model: ServedModel, request: wire_pb2.PredictRequest) -> bytes:
    """What a gate is of beside the session, for the cache, which several rankers may share."""
    of_model = f"{model.name} {model.version_label}".encode()
    features = model.features.query_features
    return b"".join([of_model, *(request.inputs[feature.name].SerializeToString() for feature in features)])


def _score_calls(model: ServedModel, state: SessionState, candidates: Sequence[Values]) -> list[Call]:
    gate = state.gate
    request = score_request(
        model.features, state.session, candidates, gate.values, model=model.name, version=gate.version
    )
    sizes = _page_sizes(len(candidates), model.page_size)
    return [Call("Predict", page, size) for page, size in zip(split_candidates(request, sizes), sizes, strict=True)]


def _page_sizes(candidates: int, most: int) -> list[int]:
    """As few pages as can be, whose sizes differ by one at most."""
    pages = -(-candidates // most)
    return [candidates * (page + 1) // pages - candidates * page // pages for page in range(pages)]


def _output(answer: wire_pb2.PredictResponse | RankingError, name: str, length: int | None = None) -> np.ndarray:
    """The first session's row; a server that pads batches answers as many scores as the longest list has."""
    if isinstance(answer, RankingError):
        raise answer
    try:
        return float_array(answer.outputs[name])[0, :length]
    except (ValueError, IndexError) as error:
        raise RankingError(
            "INTERNAL", f"the server's `{name}` {error}; is it the model that `awmoe export` wrote?"
        ) from error


def _check_model(model: ServedModel) -> Steps[None]:
    """Checks that the served model takes exactly the inputs of the features."""
    request = wire_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = model.name
    if model.version_label is not None:
        request.model_spec.version_label = model.version_label
    (answer,) = yield [Call("GetModelMetadata", request)]
    if isinstance(answer, RankingError):
        raise answer
    served = wire_pb2.SignatureDefMap.FromString(answer.metadata["signature_def"].value)
    version = answer.model_spec.version.value
    for name, inputs in signature_inputs(model.features).items():
        signature = served.signature_def[name]
        wanted = {tensor: str(spec.dtype) for tensor, spec in inputs.items()}
        found = {tensor: DTYPES.get(info.dtype, f"type {info.dtype}") for tensor, info in signature.inputs.items()}
        if wrong := sorted(t for t in wanted.keys() | found.keys() if wanted.get(t) != found.get(t)):
            raise RankingError(
                "FAILED_PRECONDITION",
                f"model `{model.name}` version {version} does not take this client's features: signature {name}, "
                f"{_difference(wrong[0], wanted, found)}; use the scenario that the model was trained with",
            )
        if OUTPUTS[name] not in signature.outputs:
            raise RankingError("FAILED_PRECONDITION", f"signature {name} gives no `{OUTPUTS[name]}`; export again")


def _difference(tensor: str, wanted: dict[str, str], found: dict[str, str]) -> str:
    if tensor not in found:
        return f"the model has no input `{tensor}`"
    if tensor not in wanted:
        return f"the model needs `{tensor}` and the features do not declare it"
    return f"`{tensor}` is {found[tensor]} in the model, {wanted[tensor]} here"
