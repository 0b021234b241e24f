"""A REST request's inputs as arrays."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from itertools import chain
from typing import Any

import numpy as np

from pipeline.features import DType
from serving.protocol import SignatureInput
from serving.validation import InputShape, InvalidRequest, check_names, check_shapes

_KINDS: dict[DType, tuple[tuple[type, ...], str]] = {
    "float32": ((int, float), "a number"),
    "int64": ((int,), "an integer"),
    "string": ((str, dict), 'a string or {"b64": ...}'),
}


def json_inputs(inputs: Any, declared: Mapping[str, SignatureInput], experts: int) -> dict[str, np.ndarray]:
    """Columnar `inputs`, `{"name": [[...], ...]}`, each of its declared type; strings become `bytes` objects.

    Args:
        inputs: as JSON was parsed; NaN is a number.
        declared: the signature's inputs by name.
        experts: K, the gate's length.

    Raises:
        InvalidRequest: no mapping of names to lists, a value of another type, lists of different lengths, or
            as of `check_names` and `check_shapes`.
    """
    if not isinstance(inputs, dict):
        raise InvalidRequest(f"`inputs` must be an object of the signature's inputs: {', '.join(declared)}")
    check_names(inputs, declared)
    arrays = {name: _array(name, values, *declared[name]) for name, values in inputs.items()}
    found = {name: InputShape(declared[name].dtype, list(array.shape)) for name, array in arrays.items()}
    check_shapes(found, declared, experts)
    return arrays


def _array(name: str, values: Any, dtype: DType, axis: str) -> np.ndarray:
    shape = f"[B, {axis}]" if axis else "[B]"
    if not isinstance(values, list) or (axis and not all(isinstance(row, list) for row in values)):
        raise InvalidRequest(f"input `{name}` must have shape {shape}: a list{' of lists' if axis else ''}")
    if axis and len({len(row) for row in values}) > 1:
        raise InvalidRequest(f"input `{name}` must have shape {shape}: its lists have different lengths; pad them")
    flat = list(chain.from_iterable(values)) if axis else values
    allowed, kind = _KINDS[dtype]
    for value in flat:
        if not isinstance(value, allowed) or isinstance(value, bool):
            raise InvalidRequest(f"input `{name}`: each value must be {kind}, not {_shown(value)}")
    size = (len(values), len(values[0]) if values else 0) if axis else (len(values),)
    if dtype == "string":
        array = np.empty(len(flat), object)
        array[:] = [_bytes(name, value) for value in flat]
        return array.reshape(size)
    try:
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused as that
            return np.array(flat, dtype).reshape(size)
    except OverflowError:
        raise InvalidRequest(f"input `{name}`: an integer that {dtype} cannot hold") from None


def _bytes(name: str, value: Any) -> bytes:
    if isinstance(value, str):
        try:
            return value.encode()
        except UnicodeEncodeError:  # half of a surrogate pair, as JSON's "\ud800"
            raise InvalidRequest(f"input `{name}`: must be Unicode text, not {_shown(value)}") from None
    encoded = value.get("b64")
    if len(value) != 1 or not isinstance(encoded, str):
        raise InvalidRequest(f'input `{name}`: an object must be {{"b64": "..."}}, not {_shown(value)}')
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequest(f"input `{name}`: {_shown(encoded)} is no base64") from None


def _shown(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 40 else f"{text[:40]}..."
