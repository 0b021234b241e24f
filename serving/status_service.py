"""TensorFlow Serving's ModelService: `GetModelStatus`."""

from __future__ import annotations

import grpc
from tensorflow.core.protobuf import error_codes_pb2
from tensorflow_serving.apis import get_model_status_pb2, model_service_pb2_grpc

from serving.model_versions import ModelVersions

_Status = get_model_status_pb2.ModelVersionStatus


class StatusService(model_service_pb2_grpc.ModelServiceServicer):
    """Which versions answer (AVAILABLE) and which could not be loaded (END, with the reason)."""

    def __init__(self, model_name: str, versions: ModelVersions) -> None:
        self._model_name = model_name
        self._versions = versions

    def GetModelStatus(  # noqa: N802 - the protocol's name
        self, request: get_model_status_pb2.GetModelStatusRequest, context: grpc.ServicerContext
    ) -> get_model_status_pb2.GetModelStatusResponse:
        """The state of one version, or of all that this server knows, newest first."""
        spec = request.model_spec
        if spec.name != self._model_name:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no model `{spec.name}`; this server has `{self._model_name}`")
        statuses = [_Status(version=model.version, state=_Status.AVAILABLE) for model in self._versions.loaded]
        for version, reason in self._versions.failed.copy().items():  # another thread changes it
            status = _Status(version=version, state=_Status.END)
            status.status.error_code = error_codes_pb2.INVALID_ARGUMENT
            status.status.error_message = reason
            statuses.append(status)
        if spec.HasField("version"):
            statuses = [status for status in statuses if status.version == spec.version.value]
            if not statuses:
                context.abort(grpc.StatusCode.NOT_FOUND, f"no version {spec.version.value} of `{self._model_name}`")
        statuses.sort(key=lambda status: status.version, reverse=True)
        return get_model_status_pb2.GetModelStatusResponse(model_version_status=statuses)
