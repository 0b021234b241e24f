"""The record columns of new prepared data against those of old."""

from __future__ import annotations

from tensorflow_metadata.proto.v0 import schema_pb2

from pipeline.config import Validation
from pipeline.validation.finding import Finding


def compare_schemas(new: schema_pb2.Schema, old: schema_pb2.Schema, thresholds: Validation) -> list[Finding]:
    """Features that are gone, added, or of another type.

    Args:
        new, old: as `record_schema` makes them.
        thresholds: the scenario's section `validation`; with `same_schema` each difference is above it.
    """
    was, now = ({feature.name: _described(feature) for feature in schema.feature} for schema in (old, new))
    findings = []
    for name in dict.fromkeys([*was, *now]):
        if was.get(name) != now.get(name):
            detail = "gone" if name not in now else "added" if name not in was else "another type"
            kinds = was.get(name, ""), now.get(name, "")
            findings.append(Finding("", name, "same_schema", *kinds, 1.0, 0.0, thresholds.same_schema, detail))
    return findings


def _described(feature: schema_pb2.Feature) -> str:
    kind = {schema_pb2.BYTES: "text", schema_pb2.FLOAT: "number", schema_pb2.INT: "integer"}[feature.type]
    return f"{kind}s" if feature.HasField("value_count") else kind
