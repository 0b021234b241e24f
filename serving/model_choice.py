"""Which model and version a request asks for."""

from __future__ import annotations

from dataclasses import dataclass

from tensorflow_serving.apis import model_pb2


@dataclass(frozen=True)
class ModelChoice:
    """A model's name, and a version's number or label; with neither, the version that serves now."""

    name: str
    version: int | None = None
    label: str | None = None

    @classmethod
    def of_spec(cls, spec: model_pb2.ModelSpec) -> ModelChoice:
        """As the protocol writes it; an empty label is none."""
        version = spec.version.value if spec.HasField("version") else None
        return cls(spec.name, version, spec.version_label or None)
