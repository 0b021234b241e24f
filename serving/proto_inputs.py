"""A gRPC request's tensors as arrays."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from serving.protocol import SignatureInput
from serving.validation import InputShape, InvalidRequest, check_names, check_shapes

#: The field of a tensor that holds its values, where they are not in `tensor_content`.
_VALUES = {"float32": "float_val", "int64": "int64_val", "string": "string_val"}
_NAMES = {int(tf.as_dtype(name).as_datatype_enum): name for name in _VALUES}


def proto_inputs(
    tensors: Mapping[str, tf.compat.v1.TensorProto], declared: Mapping[str, SignatureInput], experts: int
) -> dict[str, np.ndarray]:
    """Decodes tensors whose shapes fit; strings become `bytes` objects.

    Args:
        tensors: the request's inputs by name.
        declared: the signature's inputs by name.
        experts: K, the gate's length.

    Raises:
        InvalidRequest: as of `check_names` and `check_shapes`, or values do not fill a shape.
    """
    check_names(tensors, declared)
    check_shapes({name: _shape(tensors[name]) for name in declared}, declared, experts)
    return {name: _decode(name, tensors[name], declared[name].dtype) for name in declared}


def _shape(tensor: tf.compat.v1.TensorProto) -> InputShape:
    shape = tensor.tensor_shape
    return InputShape(_dtype_name(tensor.dtype), None if shape.unknown_rank else [dim.size for dim in shape.dim])


def _decode(name: str, tensor: tf.compat.v1.TensorProto, dtype: str) -> np.ndarray:
    shape = [dim.size for dim in tensor.tensor_shape.dim]
    size = math.prod(shape)
    values = getattr(tensor, _VALUES[dtype])
    if dtype != "string" and tensor.tensor_content:
        try:
            array = np.frombuffer(tensor.tensor_content, dtype)
        except ValueError as error:
            raise InvalidRequest(f"input `{name}`: its values do not fill its shape: {error}") from error
        if len(array) != size:
            raise InvalidRequest(f"input `{name}`: {len(array)} values for {size} places of its shape")
        return array.reshape(shape)
    # TensorFlow writes equal numbers as one; strings must all be there, so that a large request takes many bytes
    one_for_all = len(values) == 1 and dtype != "string"
    if len(values) != size and not one_for_all:
        raise InvalidRequest(f"input `{name}`: {len(values)} values for {size} places of its shape")
    if one_for_all:
        return np.full(shape, values[0], dtype)
    array = np.empty(size, object if dtype == "string" else dtype)
    array[:] = values
    return array.reshape(shape)


def _dtype_name(number: int) -> str:
    if known := _NAMES.get(number):  # a look-up of TensorFlow's takes longer than what is done with the tensor
        return known
    try:
        return str(tf.as_dtype(number).name)
    except TypeError:
        return f"dtype number {number}"
