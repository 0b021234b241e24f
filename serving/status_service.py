"""TensorFlow Serving's ModelService: `GetModelStatus`."""

from __future__ import annotations

import grpc
from tensorflow_serving.apis import get_model_status_pb2, model_service_pb2_grpc

from serving.model_choice import ModelChoice
from serving.model_status import model_status
from serving.model_versions import ModelVersions
from serving.serving_error import ServingError


class StatusService(model_service_pb2_grpc.ModelServiceServicer):
    """Which versions answer (AVAILABLE) and which could not be loaded (END, with the reason)."""

    def __init__(self, versions: ModelVersions) -> None:
        self._versions = versions

    def GetModelStatus(  # noqa: N802 - the protocol's name
        self, request: get_model_status_pb2.GetModelStatusRequest, context: grpc.ServicerContext
    ) -> get_model_status_pb2.GetModelStatusResponse:
        """The state of one version, or of all that this server knows, newest first."""
        try:
            return model_status(self._versions, ModelChoice.of_spec(request.model_spec))
        except ServingError as error:
            context.abort(error.code, error.message)
            raise AssertionError("abort always raises") from None
