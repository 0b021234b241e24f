"""TensorFlow Serving's PredictionService: `Predict` and `GetModelMetadata`."""

from __future__ import annotations

from functools import partial
from typing import NoReturn

import grpc
import tensorflow as tf
from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2, prediction_service_pb2_grpc

from serving.model_choice import ModelChoice
from serving.model_metadata import SIGNATURE_DEF, model_metadata
from serving.predict_call import PredictCall
from serving.predictor import Predictor
from serving.proto_inputs import proto_inputs
from serving.serving_error import ServingError

#: Seconds; about three years.
_FAR_FUTURE = 1e8


class PredictService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Answers for one model; methods that are not here answer UNIMPLEMENTED."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    def Predict(  # noqa: N802 - the protocol's name
        self, request: predict_pb2.PredictRequest, context: grpc.ServicerContext
    ) -> predict_pb2.PredictResponse:
        """Runs one signature of one version; INVALID_ARGUMENT says what is wrong with a request."""
        call = PredictCall(
            choice=ModelChoice.of_spec(request.model_spec),
            signature=request.model_spec.signature_name or "serving_default",
            decode=partial(proto_inputs, request.inputs),
            outputs=request.output_filter,
            seconds=_deadline(context),
        )
        try:
            prediction = self._predictor.predict(call, context.add_callback)
        except ServingError as error:
            _abort(context, error)
        response = predict_pb2.PredictResponse()
        response.model_spec.name = call.choice.name
        response.model_spec.version.value = prediction.version
        response.model_spec.signature_name = call.signature
        for name, values in prediction.outputs.items():
            response.outputs[name].CopyFrom(tf.make_tensor_proto(values))
        return response

    def GetModelMetadata(  # noqa: N802 - the protocol's name
        self, request: get_model_metadata_pb2.GetModelMetadataRequest, context: grpc.ServicerContext
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """The signatures of one version, as its SavedModel states them."""
        try:
            if list(request.metadata_field) != [SIGNATURE_DEF]:
                raise ServingError(
                    grpc.StatusCode.INVALID_ARGUMENT,
                    f"metadata_field must be exactly `{SIGNATURE_DEF}`, not {list(request.metadata_field)}",
                )
            return model_metadata(self._predictor.versions, ModelChoice.of_spec(request.model_spec))
        except ServingError as error:
            _abort(context, error)


def _deadline(context: grpc.ServicerContext) -> float | None:
    seconds = context.time_remaining()
    # gRPC writes a call without a deadline as one that ends in the far future
    return seconds if seconds is not None and seconds < _FAR_FUTURE else None


def _abort(context: grpc.ServicerContext, error: ServingError) -> NoReturn:
    context.abort(error.code, error.message)
    raise AssertionError("abort always raises")
