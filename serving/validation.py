"""Checks a `Predict` request's inputs before the model runs, so that a mistake gets a reason.

TensorFlow would fail somewhere in the graph, or broadcast, or answer with NaN.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from pipeline.features import Features, Numeric
from serving.protocol import GATE, SignatureInput

_MEANING: dict[str, str] = {"T": "behaviours", "N": "candidates", "K": "experts"}
_COUNT_OF: dict[str, str] = {"T": "behavior_count", "N": "candidate_count"}
#: Most B x T x N of a request: 20,000 candidates with 50 behaviours. The model takes about 1 KB for each.
MAX_PLACES = 2**20


class InvalidRequest(ValueError):  # noqa: N818 - named after the gRPC status it becomes
    """The request's inputs are wrong; the message becomes the reason of INVALID_ARGUMENT."""


class InputShape(NamedTuple):
    """What a request says of an input before its values are looked at; `shape` is None where it has no rank."""

    dtype: str
    shape: list[int] | None


def check_shapes(found: Mapping[str, InputShape], declared: Mapping[str, SignatureInput], experts: int) -> None:
    """Holds that inputs are those of the signature: `[B]` or `[B, axis]`, with one B and one size an axis.

    Args:
        found: the request's inputs by name.
        declared: the signature's inputs by name.
        experts: K, the gate's length.

    Raises:
        InvalidRequest: an input is missing, unknown, of another dtype or shape; sizes are zero or differ
            between inputs; the request is too large.
    """
    if missing := [name for name in declared if name not in found]:
        raise InvalidRequest(f"missing input `{missing[0]}`; the signature takes {', '.join(declared)}")
    if unknown := sorted(set(found) - set(declared)):
        raise InvalidRequest(f"unknown input `{unknown[0]}`; the signature takes {', '.join(declared)}")
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
    places = {letter: size for letter, (size, _) in sizes.items() if letter != "K"}
    if math.prod(places.values()) > MAX_PLACES:
        raise InvalidRequest(
            f"too large: {' x '.join(places)} is {' x '.join(f'{size:,}' for size in places.values())}, "
            f"more than {MAX_PLACES:,}; send smaller pages"
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
