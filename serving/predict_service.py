"""TensorFlow Serving's PredictionService: `Predict` and `GetModelMetadata`."""

from __future__ import annotations

from typing import NoReturn

import grpc
import tensorflow as tf
from tensorflow_serving.apis import get_model_metadata_pb2, model_pb2, predict_pb2, prediction_service_pb2_grpc

from serving.loaded_model import LoadedModel
from serving.model_versions import ModelVersions
from serving.protocol import OUTPUTS
from serving.validation import InvalidRequest, validated_inputs

#: The one kind of metadata that TensorFlow Serving gives.
SIGNATURE_DEF = "signature_def"


class PredictService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Answers for one model; methods that are not here answer UNIMPLEMENTED."""

    def __init__(self, model_name: str, versions: ModelVersions) -> None:
        self._model_name = model_name
        self._versions = versions

    def Predict(  # noqa: N802 - the protocol's name
        self, request: predict_pb2.PredictRequest, context: grpc.ServicerContext
    ) -> predict_pb2.PredictResponse:
        """Runs one signature of one version; INVALID_ARGUMENT says what is wrong with a request."""
        model = self._find(request.model_spec, context)
        signature = request.model_spec.signature_name or "serving_default"
        try:
            outputs = self._run(model, signature, request)
        except (InvalidRequest, tf.errors.InvalidArgumentError) as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"signature `{signature}`: {error}")
        response = predict_pb2.PredictResponse(model_spec=self._spec(model))
        response.model_spec.signature_name = signature
        for name, tensor in outputs.items():
            response.outputs[name].CopyFrom(tensor)
        return response

    def GetModelMetadata(  # noqa: N802 - the protocol's name
        self, request: get_model_metadata_pb2.GetModelMetadataRequest, context: grpc.ServicerContext
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """The signatures of one version, as its SavedModel states them."""
        if list(request.metadata_field) != [SIGNATURE_DEF]:
            context.abort(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"metadata_field must be exactly `{SIGNATURE_DEF}`, not {list(request.metadata_field)}",
            )
        model = self._find(request.model_spec, context)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        for name, signature in model.signature_def.items():
            signatures.signature_def[name].CopyFrom(signature)
        response = get_model_metadata_pb2.GetModelMetadataResponse(model_spec=self._spec(model))
        response.metadata[SIGNATURE_DEF].Pack(signatures)
        return response

    def _run(
        self, model: LoadedModel, signature: str, request: predict_pb2.PredictRequest
    ) -> dict[str, tf.compat.v1.TensorProto]:
        if signature not in model.inputs:
            raise InvalidRequest(f"unknown; the model has {' and '.join(model.inputs)}")
        output = OUTPUTS[signature]
        if unknown := sorted(set(request.output_filter) - {output}):
            raise InvalidRequest(f"output_filter: unknown output `{unknown[0]}`; the signature gives `{output}`")
        scenario = model.scenario
        inputs = validated_inputs(
            request.inputs, model.inputs[signature], scenario.features, scenario.model.expert_count
        )
        return {name: tf.make_tensor_proto(array) for name, array in model.run(signature, inputs).items()}

    def _find(self, spec: model_pb2.ModelSpec, context: grpc.ServicerContext) -> LoadedModel:
        def not_found(what: str) -> NoReturn:
            context.abort(grpc.StatusCode.NOT_FOUND, what)
            raise AssertionError("abort always raises")

        if spec.name != self._model_name:
            not_found(f"no model `{spec.name}`; this server has `{self._model_name}`")
        if spec.version_label:
            not_found(f"no version labelled `{spec.version_label}`; this server has no labels")
        model = self._versions.get(spec.version.value if spec.HasField("version") else None)
        if model is None:
            loaded = " and ".join(str(m.version) for m in self._versions.loaded)
            not_found(f"no version {spec.version.value} of `{self._model_name}`; loaded: {loaded}")
        return model

    def _spec(self, model: LoadedModel) -> model_pb2.ModelSpec:
        spec = model_pb2.ModelSpec(name=self._model_name)
        spec.version.value = model.version
        return spec
