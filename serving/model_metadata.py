"""The signatures of a served version."""

from __future__ import annotations

from tensorflow_serving.apis import get_model_metadata_pb2

from serving.model_choice import ModelChoice
from serving.model_versions import ModelVersions

#: The one kind of metadata that TensorFlow Serving gives.
SIGNATURE_DEF = "signature_def"


def model_metadata(versions: ModelVersions, choice: ModelChoice) -> get_model_metadata_pb2.GetModelMetadataResponse:
    """The signatures of one version, as its SavedModel states them.

    Raises:
        ServingError: NOT_FOUND, the version is not loaded.
    """
    model = versions.find(choice)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    for name, signature in model.signature_def.items():
        signatures.signature_def[name].CopyFrom(signature)
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    response.model_spec.name = choice.name
    response.model_spec.version.value = model.version
    response.metadata[SIGNATURE_DEF].Pack(signatures)
    return response
