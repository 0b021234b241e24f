"""A session and its candidates as requests of TensorFlow Serving's `Predict`.

Pure: values in, protocol buffers out, no network, and neither TensorFlow nor Keras is imported.
Everything is checked against the feature declaration before anything is sent. A value is
missing when its key is absent or None: a categorical one is sent as the empty string, an
optional number as NaN; another number must be there.

Example:
    session = Session(behaviors=[{"item_id": "i7", "action": "click", "age_days": 0.5}], query={"terms": "red shoe"})
    request = gate_request(features, session)
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline.features import Feature, Features, Numeric
from serving.errors import RequestError
from serving.protocol import GATE, SCORE_ITEMS, SESSION_GATE
from serving.tensors import number_tensor, text_tensor
from serving.wire_pb2 import PredictRequest, Tensor

#: Field name to value, as declared: strings, numbers, or None for missing.
Values = Mapping[str, Any]


@dataclass(frozen=True)
class Session:
    """One user's session: behaviours newest first, the query and the user's profile.

    The keys are field names as in the scenario's `features`: `item` and `behavior` for
    `behaviors`, `query` for `query`, `user` and as-of numbers of the user for `user`.
    """

    behaviors: Sequence[Values] = ()
    query: Values = field(default_factory=dict)
    user: Values = field(default_factory=dict)


def gate_request(
    features: Features, session: Session, *, model: str = "awmoe", version_label: str | None = None
) -> PredictRequest:
    """The `session_gate` request of one session (B = 1).

    Args:
        features: the scenario's declaration.
        session: behaviours and query.
        model: the served model's name.
        version_label: as the server's configuration names a version; None: the newest.

    Raises:
        RequestError: a value is wrong; names the field.
    """
    request = PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = SESSION_GATE
    if version_label is not None:
        request.model_spec.version_label = version_label
    _add_behaviors(request, features, session)
    _add_row(request, features.query_features, session.query, "query")
    return request


def score_request(
    features: Features,
    session: Session,
    candidates: Sequence[Values],
    gate: np.ndarray,
    *,
    model: str = "awmoe",
    version: int | None = None,
) -> PredictRequest:
    """The `score_items` request of one page of candidates (B = 1).

    Args:
        features: the scenario's declaration.
        session: the session that `gate` was computed for.
        candidates: N mappings of field to value: item fields, impression fields and as-of numbers.
        gate: the session's gate, [K].
        model: the served model's name.
        version: the version that computed the gate; None: the newest.

    Raises:
        RequestError: no candidates, or a value is wrong; names the field.
    """
    if not candidates:
        raise RequestError("no candidates: a page needs at least one")
    request = PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = SCORE_ITEMS
    if version is not None:
        request.model_spec.version.value = version
    _add_behaviors(request, features, session)
    _add_rows(request, features.candidate_features, candidates, "candidate")
    request.inputs["candidate_count"].CopyFrom(number_tensor(np.array([len(candidates)])))
    _add_row(request, features.query_features, session.query, "query")
    _add_row(request, features.user_features, session.user, "user")
    request.inputs[GATE].CopyFrom(number_tensor(np.reshape(gate, (1, -1)).astype(np.float32)))
    return request


def split_candidates(request: PredictRequest, sizes: Sequence[int]) -> list[PredictRequest]:
    """A `score_items` request of one session as several, each with the next so many of its candidates."""
    if len(sizes) == 1:
        return [request]
    shared, of_candidates = PredictRequest(model_spec=request.model_spec), {}
    for name, tensor in request.inputs.items():
        if name != "candidate_count" and name.startswith("candidate_"):
            of_candidates[name] = tensor
        else:
            shared.inputs[name].CopyFrom(tensor)
    pages, start = [], 0
    for size in sizes:
        page = PredictRequest()
        page.CopyFrom(shared)
        page.inputs["candidate_count"].CopyFrom(number_tensor(np.array([size])))
        for name, tensor in of_candidates.items():
            page.inputs[name].CopyFrom(_columns(tensor, start, start + size))
        pages.append(page)
        start += size
    return pages


def _columns(tensor: Tensor, start: int, end: int) -> Tensor:
    """Of a `[1, N]` tensor."""
    if tensor.string_val:
        return text_tensor(tensor.string_val[start:end], (1, end - start))
    return number_tensor(np.frombuffer(tensor.tensor_content, np.float32)[np.newaxis, start:end])


def _add_behaviors(request: PredictRequest, features: Features, session: Session) -> None:
    if session.behaviors:
        _add_rows(request, features.behavior_features, session.behaviors, "behavior")
    else:
        # The server's batching takes no empty tensors: one row that the count of 0 hides.
        for feature in features.behavior_features:
            numeric = isinstance(feature.declaration, Numeric)
            padding = number_tensor(np.zeros((1, 1), np.float32)) if numeric else text_tensor([b""], (1, 1))
            request.inputs[feature.name].CopyFrom(padding)
    request.inputs["behavior_count"].CopyFrom(number_tensor(np.array([len(session.behaviors)])))


def _add_rows(request: PredictRequest, features: tuple[Feature, ...], rows: Sequence[Values], group: str) -> None:
    """Adds `[1, len(rows)]` tensors, one a feature."""
    for index, row in enumerate(rows):
        _refuse_unknown(features, row, f"{group} {index}")
    for feature in features:
        values = [row.get(feature.field) for row in rows]
        request.inputs[feature.name].CopyFrom(_column(feature, values, (1, len(rows))))


def _add_row(request: PredictRequest, features: tuple[Feature, ...], row: Values, group: str) -> None:
    """Adds `[1]` tensors, one a feature."""
    _refuse_unknown(features, row, group)
    for feature in features:
        request.inputs[feature.name].CopyFrom(_column(feature, [row.get(feature.field)], (1,)))


def _refuse_unknown(features: tuple[Feature, ...], row: Values, where: str) -> None:
    known = [feature.field for feature in features]
    if unknown := sorted(set(row).difference(known)):
        raise RequestError(f"{where}: unknown field `{unknown[0]}`; declared are {', '.join(known) or '(none)'}")


def _column(feature: Feature, values: list[Any], shape: tuple[int, ...]) -> Tensor:
    if isinstance(feature.declaration, Numeric):
        return number_tensor(_numbers(feature, feature.declaration, values).reshape(shape))
    return text_tensor([_encoded(feature, index, value) for index, value in enumerate(values)], shape)


def _encoded(feature: Feature, index: int, value: Any) -> bytes:
    if not isinstance(value, str | None):
        raise RequestError(_wrong(feature, index, f"must be a string, not {value!r}"))
    try:
        return (value or "").encode()
    except UnicodeEncodeError:  # half of a surrogate pair, as JSON's "\ud800"
        raise RequestError(_wrong(feature, index, f"must be Unicode text, not {value!r}")) from None


def _numbers(feature: Feature, declaration: Numeric, values: list[Any]) -> np.ndarray:
    for index, value in enumerate(values):
        if not isinstance(value, int | float | np.number | None) or isinstance(value, bool):
            raise RequestError(_wrong(feature, index, f"must be a number, not {value!r}"))
    try:
        with np.errstate(over="ignore"):
            numbers = np.array(values, np.float32)  # None becomes NaN
    except OverflowError:
        index = next(i for i, value in enumerate(values) if isinstance(value, int) and abs(value) > sys.float_info.max)
        raise RequestError(_wrong(feature, index, "must be finite, not an integer that no float holds")) from None
    wrong = np.isinf(numbers)
    if declaration.log:
        wrong |= numbers < 0
    if not declaration.optional:
        wrong |= np.isnan(numbers)
    if wrong.any():
        index = int(wrong.argmax())
        value = values[index]
        missing = value is None or np.isnan(numbers[index])
        rule = "is missing and not optional" if missing else f"must be finite{' and not negative' * declaration.log}"
        raise RequestError(_wrong(feature, index, rule if missing else f"{rule}, not {value!r}"))
    return numbers


def _wrong(feature: Feature, index: int, what: str) -> str:
    position = f" {index}" if feature.spec.axis else ""
    return f"{feature.group}{position}: field `{feature.field}` {what}"
