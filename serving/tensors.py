"""NumPy arrays as the protocol's tensors, and back, without TensorFlow."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from pipeline.features import DType
from serving import wire_pb2

DTYPES: dict[int, DType] = {
    wire_pb2.DT_FLOAT: "float32",
    wire_pb2.DT_INT64: "int64",
    wire_pb2.DT_STRING: "string",
}


def number_tensor(values: np.ndarray) -> wire_pb2.Tensor:
    """A tensor of float32 or int64 values."""
    dtype = {np.dtype(np.float32): wire_pb2.DT_FLOAT, np.dtype(np.int64): wire_pb2.DT_INT64}[values.dtype]
    content = np.ascontiguousarray(values).tobytes()
    return wire_pb2.Tensor(dtype=dtype, tensor_shape=_shape(values.shape), tensor_content=content)


def text_tensor(values: Sequence[bytes], shape: Sequence[int]) -> wire_pb2.Tensor:
    """A tensor of strings, given row by row."""
    return wire_pb2.Tensor(dtype=wire_pb2.DT_STRING, tensor_shape=_shape(shape), string_val=values)


def float_array(tensor: wire_pb2.Tensor) -> np.ndarray:
    """The values of a float32 tensor.

    Raises:
        ValueError: it is of another type, or its values do not fill its shape.
    """
    if tensor.dtype != wire_pb2.DT_FLOAT:
        raise ValueError(f"is of type {DTYPES.get(tensor.dtype, tensor.dtype)}, not float32")
    shape = [dim.size for dim in tensor.tensor_shape.dim]
    if tensor.tensor_content:
        values = np.frombuffer(tensor.tensor_content, "<f4")
    else:
        values = np.array(tensor.float_val, np.float32)
        if len(values) == 1:  # TensorFlow writes equal numbers as one
            values = np.full(math.prod(shape), values[0])
    if len(values) != math.prod(shape):
        raise ValueError(f"has {len(values)} values for the shape {shape}")
    return values.reshape(shape)


def _shape(sizes: Sequence[int]) -> wire_pb2.TensorShape:
    return wire_pb2.TensorShape(dim=[wire_pb2.TensorShape.Dim(size=size) for size in sizes])
