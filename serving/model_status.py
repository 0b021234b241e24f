"""The states of a model's versions."""

from __future__ import annotations

import grpc
from tensorflow.core.protobuf import error_codes_pb2
from tensorflow_serving.apis import get_model_status_pb2

from serving.model_choice import ModelChoice
from serving.model_versions import ModelVersions
from serving.serving_error import ServingError

_Status = get_model_status_pb2.ModelVersionStatus


def model_status(versions: ModelVersions, choice: ModelChoice) -> get_model_status_pb2.GetModelStatusResponse:
    """One version, or all that are known: the one that answers by default, then the newest first.

    AVAILABLE, or END with the reason where loading failed.

    Raises:
        ServingError: NOT_FOUND, another model or an unknown version or label.
    """
    versions.check_name(choice.name)
    statuses = [_Status(version=model.version, state=_Status.AVAILABLE) for model in versions.loaded]
    for status in statuses:
        status.status.SetInParent()  # OK, and said so
    loaded = {status.version for status in statuses}
    for version, reason in versions.failed.copy().items():  # another thread changes it
        if version in loaded:  # a labelled version whose files went bad after it was loaded
            continue
        status = _Status(version=version, state=_Status.END)
        status.status.error_code = error_codes_pb2.INVALID_ARGUMENT
        status.status.error_message = reason
        statuses.append(status)
    wanted = choice.version if choice.label is None else versions.version_of(choice.label)
    if wanted is not None:
        statuses = [status for status in statuses if status.version == wanted]
        if not statuses:
            raise ServingError(grpc.StatusCode.NOT_FOUND, f"no version {wanted} of `{choice.name}`")
    current = versions.current.version
    statuses.sort(key=lambda status: (status.version == current, status.version), reverse=True)
    return get_model_status_pb2.GetModelStatusResponse(model_version_status=statuses)
