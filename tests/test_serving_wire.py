"""The client's own messages are TensorFlow Serving's, byte for byte."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2

from serving import wire_pb2
from serving.tensors import float_array, number_tensor, text_tensor

TENSORS = st.one_of(
    st.lists(st.floats(width=32), max_size=5).map(lambda values: np.array(values, np.float32)),
    st.lists(st.integers(-(2**63), 2**63 - 1), max_size=5).map(lambda values: np.array(values, np.int64)),
    st.lists(st.binary(max_size=6), max_size=5).map(lambda values: np.array(values, object)),
)


def bytes_of(message: Any) -> bytes:
    found: bytes = message.SerializeToString(deterministic=True)
    return found


@given(
    inputs=st.dictionaries(st.text(max_size=4), TENSORS, max_size=4),
    version=st.integers(0, 9),
    label=st.text(max_size=3),
)
@settings(max_examples=60)
def test_a_request_of_ours_is_one_of_theirs(inputs: dict[str, np.ndarray], version: int, label: str) -> None:
    theirs = predict_pb2.PredictRequest()
    theirs.model_spec.name, theirs.model_spec.signature_name = "awmoe", "score_items"
    if version:
        theirs.model_spec.version.value = version
    else:
        theirs.model_spec.version_label = label
    for name, values in inputs.items():
        theirs.inputs[name].CopyFrom(tf.make_tensor_proto(values.reshape(1, -1)))
    ours = wire_pb2.PredictRequest.FromString(bytes_of(theirs))
    assert bytes_of(ours) == bytes_of(theirs)
    assert ours.model_spec.WhichOneof("version_choice") == theirs.model_spec.WhichOneof("version_choice")
    assert predict_pb2.PredictRequest.FromString(bytes_of(ours)) == theirs


@given(values=TENSORS)
@settings(max_examples=60)
def test_tensors_of_ours_are_read_by_tensorflow(values: np.ndarray) -> None:
    shaped = values.reshape(1, -1)
    ours = text_tensor(list(values), shaped.shape) if values.dtype == object else number_tensor(shaped)
    theirs = tf.make_ndarray(tensor_pb2.TensorProto.FromString(bytes_of(ours)))
    np.testing.assert_array_equal(theirs, shaped)
    assert theirs.shape == shaped.shape


@given(values=st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=6))
@settings(max_examples=60)
def test_answers_are_read_however_tensorflow_wrote_them(values: list[float]) -> None:
    array = np.array([values], np.float32)
    for written in (
        tf.make_tensor_proto(array),
        tf.compat.v1.make_tensor_proto(array.tolist(), tf.float32, [1, len(values)]),
    ):
        np.testing.assert_array_equal(float_array(wire_pb2.Tensor.FromString(bytes_of(written))), array)
    one = tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, float_val=values[:1])
    for size in array.shape:
        one.tensor_shape.dim.add(size=size)
    np.testing.assert_array_equal(
        float_array(wire_pb2.Tensor.FromString(bytes_of(one))), np.full(array.shape, array[0, 0])
    )


def test_an_answer_of_another_kind_is_an_error() -> None:
    with pytest.raises(ValueError, match="is of type int64, not float32"):
        float_array(number_tensor(np.array([1])))
    short = number_tensor(np.array([1.0], np.float32))
    short.tensor_shape.dim[0].size = 3
    with pytest.raises(ValueError, match=r"has 1 values for the shape \[3\]"):
        float_array(short)


def test_metadata_is_read() -> None:
    theirs = get_model_metadata_pb2.GetModelMetadataResponse()
    signatures = get_model_metadata_pb2.SignatureDefMap()
    signatures.signature_def["session_gate"].inputs["query_terms"].dtype = types_pb2.DT_STRING
    theirs.metadata["signature_def"].Pack(signatures)
    ours = wire_pb2.GetModelMetadataResponse.FromString(bytes_of(theirs))
    found = wire_pb2.SignatureDefMap.FromString(ours.metadata["signature_def"].value)
    assert found.signature_def["session_gate"].inputs["query_terms"].dtype == wire_pb2.DT_STRING
