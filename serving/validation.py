"""Checks a `Predict` request's tensors before the model runs, so that a mistake gets a reason.

TensorFlow would fail somewhere in the graph, or broadcast, or answer with NaN.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from pipeline.features import Features, Numeric
from serving.protocol import GATE, SignatureInput

_MEANING: dict[str, str] = {"T": "behaviours", "N": "candidates", "K": "experts"}
_COUNT_OF: dict[str, str] = {"T": "behavior_count", "N": "candidate_count"}
#: Most B x T x N of a request: 20,000 candidates with 50 behaviours. The model takes about 1 KB for each.
_MAX_PLACES = 2**20


class InvalidRequest(ValueError):  # noqa: N818 - named after the gRPC status it becomes
    """The request's tensors are wrong; the message becomes the reason of INVALID_ARGUMENT."""


def validated_inputs(
    tensors: Mapping[str, tf.compat.v1.TensorProto],
    declared: Mapping[str, SignatureInput],
    features: Features,
    experts: int,
) -> dict[str, np.ndarray]:
    """Decodes a request's tensors and checks them against the signature and each other.

    Args:
        tensors: the request's inputs by name.
        declared: the signature's inputs by name.
        features: the scenario's declaration: which numbers may be missing or negative.
        experts: K, the gate's length.

    Raises:
        InvalidRequest: a tensor is missing, unknown, of another dtype or shape; sizes differ between
            tensors; the request is too large; a count is outside its padded length; a number is not
            finite where it must be.
    """
    if missing := [name for name in declared if name not in tensors]:
        raise InvalidRequest(f"missing input `{missing[0]}`; the signature takes {', '.join(declared)}")
    if unknown := sorted(set(tensors) - set(declared)):
        raise InvalidRequest(f"unknown input `{unknown[0]}`; the signature takes {', '.join(declared)}")
    _check_shapes(tensors, declared, experts)
    arrays = {name: _decode(name, tensors[name]) for name in declared}
    real = _real_positions(arrays, declared)
    for feature in features.encoded:
        if feature.name in arrays and isinstance(feature.declaration, Numeric):
            _check_numbers(feature.name, feature.declaration, arrays[feature.name], real.get(feature.spec.axis))
    if GATE in arrays and not np.isfinite(arrays[GATE]).all():
        raise InvalidRequest(f"input `{GATE}` must be finite; send what `session_gate` answered")
    return arrays


def _check_shapes(
    tensors: Mapping[str, tf.compat.v1.TensorProto], declared: Mapping[str, SignatureInput], experts: int
) -> None:
    """Every tensor is `[B]` or `[B, axis]`, with one B and one size an axis, none of them zero or too large."""
    sizes: dict[str, tuple[int, str]] = {"K": (experts, "the model")}
    for name, (dtype, axis) in declared.items():
        tensor = tensors[name]
        if tensor.dtype != tf.as_dtype(dtype).as_datatype_enum:
            raise InvalidRequest(f"input `{name}` must be {dtype}, not {_dtype_name(tensor.dtype)}")
        shape = [dim.size for dim in tensor.tensor_shape.dim]
        axes = ["B", axis] if axis else ["B"]
        if tensor.tensor_shape.unknown_rank or len(shape) != len(axes):
            raise InvalidRequest(f"input `{name}` must have shape [{', '.join(axes)}], not {shape}")
        for letter, size in zip(axes, shape, strict=True):
            if size < 1:
                remedy = "; without behaviours send T = 1 and behavior_count 0" if letter == "T" else ""
                raise InvalidRequest(f"input `{name}`: no {_MEANING.get(letter, 'sessions')} (shape {shape}){remedy}")
            expected, other = sizes.setdefault(letter, (size, f"`{name}`"))
            if size != expected:
                raise InvalidRequest(f"input `{name}`: {letter} is {size}, but {expected} in {other}")
    places = {letter: size for letter, (size, _) in sizes.items() if letter != "K"}
    if math.prod(places.values()) > _MAX_PLACES:
        raise InvalidRequest(
            f"too large: {' x '.join(places)} is {' x '.join(f'{size:,}' for size in places.values())}, "
            f"more than {_MAX_PLACES:,}; send smaller pages"
        )


def _decode(name: str, tensor: tf.compat.v1.TensorProto) -> np.ndarray:
    size = math.prod(dim.size for dim in tensor.tensor_shape.dim)
    values = len(tensor.float_val) + len(tensor.int64_val) + len(tensor.string_val)
    # TensorFlow writes equal numbers as one; strings must all be there, so that a large request takes many bytes
    one_for_all = values == 1 and tensor.dtype != tf.string.as_datatype_enum
    if not tensor.tensor_content and values != size and not one_for_all:
        raise InvalidRequest(f"input `{name}`: {values} values for {size} places of its shape")
    try:
        return tf.make_ndarray(tensor)
    except (ValueError, TypeError) as error:
        raise InvalidRequest(f"input `{name}`: its values do not fill its shape: {error}") from error


def _real_positions(arrays: dict[str, np.ndarray], declared: Mapping[str, SignatureInput]) -> dict[str, np.ndarray]:
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


def _dtype_name(number: int) -> str:
    try:
        return str(tf.as_dtype(number).name)
    except TypeError:
        return f"dtype number {number}"
