"""Checks a `Predict` request's inputs before the model runs, so that a mistake gets a reason.

TensorFlow would fail somewhere in the graph, or broadcast, or answer with NaN.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np

from pipeline.features import Features, Numeric
from serving.protocol import GATE, SignatureInput

_MEANING: dict[str, str] = {"T": "behaviours", "N": "candidates", "K": "experts"}
_COUNT_OF: dict[str, str] = {"T": "behavior_count", "N": "candidate_count"}
#: What a candidate costs beside its pairs with behaviours, in pairs: its own part of the activation unit's weights.
_OF_CANDIDATE = 64
#: Most places of a request, of which the model takes about 1 KB each: 18,000 candidates with 50 behaviours.
MAX_PLACES = 2**21


class InvalidRequest(ValueError):  # noqa: N818 - named after the gRPC status it becomes
    """The request's inputs are wrong; the message becomes the reason of INVALID_ARGUMENT."""


class InputShape(NamedTuple):
    """What a request says of an input before its values are looked at; `shape` is None where it has no rank."""

    dtype: str
    shape: list[int] | None


def places(sessions: int, behaviors: int, candidates: int) -> int:
    """What the model's work and memory grow with, in pairs of a behaviour and a candidate."""
    return sessions * candidates * (behaviors + _OF_CANDIDATE)


def check_names(found: Collection[str], declared: Mapping[str, SignatureInput]) -> None:
    """Holds that inputs have the names of the signature.

    Raises:
        InvalidRequest: an input is missing or unknown.
    """
    if missing := [name for name in declared if name not in found]:
        raise InvalidRequest(f"missing input `{missing[0]}`; the signature takes {', '.join(declared)}")
    if len(found) > len(declared):
        unknown = min(name for name in found if name not in declared)
        raise InvalidRequest(f"unknown input `{unknown}`; the signature takes {', '.join(declared)}")


def check_shapes(found: Mapping[str, InputShape], declared: Mapping[str, SignatureInput], experts: int) -> None:
    """Holds that inputs are those of the signature: `[B]` or `[B, axis]`, with one B and one size an axis.

    Args:
        found: the request's inputs by name, which `check_names` allows.
        declared: the signature's inputs by name.
        experts: K, the gate's length.

    Raises:
        InvalidRequest: an input is of another dtype or shape; sizes are zero or differ between inputs; the
            request is too large.
    """
    sizes: dict[str, tuple[int, str]] = {"K": (experts, "the model")}
    for name, (dtype, axis) in declared.items():
        given, shape = found[name]
        if given != dtype:
            raise InvalidRequest(f"input `{name}` must be {dtype}, not {given}")
        axes = ["B", axis] if axis else ["B"]
        if shape is None or len(shape) != len(axes):
            raise InvalidRequest(f"input `{name}` must have shape [{', '.join(axes)}], not {shape or []}")
        for letter, size in zip(axes, shape, strict=True):
            if size < 1:
                remedy = "; without behaviours send T = 1 and behavior_count 0" if letter == "T" else ""
                raise InvalidRequest(f"input `{name}`: no {_MEANING.get(letter, 'sessions')} (shape {shape}){remedy}")
            expected, other = sizes.setdefault(letter, (size, f"`{name}`"))
            if size != expected:
                raise InvalidRequest(f"input `{name}`: {letter} is {size}, but {expected} in {other}")
    batch, behaviors, candidates = (sizes.get(letter, (1, ""))[0] for letter in "BTN")
    if places(batch, behaviors, candidates) > MAX_PLACES:
        raise InvalidRequest(
            f"too large: {batch:,} sessions x {candidates:,} candidates x ({behaviors:,} behaviours + {_OF_CANDIDATE}) "
            f"is more than {MAX_PLACES:,}; send smaller pages"
        )


def check_values(arrays: Mapping[str, np.ndarray], declared: Mapping[str, SignatureInput], features: Features) -> None:
    """Holds that counts are within the padded lengths, and real numbers are what the declaration allows.

    Args:
        arrays: the request's inputs, of the right shapes.
        declared: the signature's inputs by name.
        features: the scenario's declaration: which numbers may be missing or negative.

    Raises:
        InvalidRequest: a count is outside its padded length; a number is not finite where it must be.
    """
    real = _real_positions(arrays, declared)
    for feature in features.encoded:
        if feature.name in arrays and isinstance(feature.declaration, Numeric):
            _check_numbers(feature.name, feature.declaration, arrays[feature.name], real.get(feature.spec.axis))
    if GATE in arrays and not np.isfinite(arrays[GATE]).all():
        raise InvalidRequest(f"input `{GATE}` must be finite; send what `session_gate` answered")


def check_scores(scores: np.ndarray, arrays: Mapping[str, np.ndarray]) -> None:
    """Holds that the real candidates' scores `[B, N]` are numbers, which those of an absurd gate are not.

    Raises:
        InvalidRequest: one is not finite.
    """
    real = np.arange(scores.shape[1]) < arrays[_COUNT_OF["N"]][:, None]
    if not np.isfinite(scores[real]).all():
        raise InvalidRequest(f"scores are not finite: `{GATE}` is too large; send what `session_gate` answered")


def _real_positions(arrays: Mapping[str, np.ndarray], declared: Mapping[str, SignatureInput]) -> dict[str, np.ndarray]:
    """Of axes T and N: which positions the counts call real, [B, axis]."""
    lengths: dict[str, int] = {axis: arrays[name].shape[1] for name, (_, axis) in declared.items() if axis}
    real = {}
    for axis, name in _COUNT_OF.items():
        if name not in arrays:
            continue
        counts, length = arrays[name], lengths[axis]
        least = 1 if axis == "N" else 0
        wrong = (counts < least) | (counts > length)
        if wrong.any():
            raise InvalidRequest(
                f"input `{name}`: {counts[wrong][0]} {_MEANING[axis]} in session {int(wrong.argmax())}; "
                f"must be {least} to {length}, the padded length"
            )
        real[axis] = np.arange(length) < counts[:, None]
    return real


def _check_numbers(name: str, declaration: Numeric, values: np.ndarray, real: np.ndarray | None) -> None:
    wrong = np.isinf(values)
    if not declaration.optional:
        wrong |= np.isnan(values)
    if declaration.log:
        wrong |= values < 0
    if real is not None:
        wrong &= real
    if wrong.any():
        rule = "finite" + " and not negative" * declaration.log + ", or NaN for missing" * declaration.optional
        raise InvalidRequest(f"input `{name}`: must be {rule}, not {values[wrong][0]}")
