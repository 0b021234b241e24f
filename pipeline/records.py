"""Session records: joined sessions to record columns, their tf.Example encoding, and its schema."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
from tensorflow_metadata.proto.v0 import schema_pb2

from pipeline.features import COUNTS, RECORD_COLUMNS, Features, InputSpec
from pipeline.item_index import ItemIndex
from pipeline.user_history import ACTIONS

_ARROW: dict[str, pa.DataType] = {"string": pa.string(), "float32": pa.float32(), "int64": pa.int64()}


def record_specs(features: Features) -> tuple[InputSpec, ...]:
    """The columns of a record, in one fixed order."""
    return (*(f.spec for f in features.encoded), *COUNTS, *RECORD_COLUMNS)


def build_records(
    features: Features, sessions: pa.RecordBatch, items: ItemIndex, numbers: Mapping[str, np.ndarray]
) -> pa.RecordBatch:
    """Record columns of some sessions, one session a row.

    Args:
        features: the declaration.
        sessions: as `join_sessions` makes them.
        items: what the sessions' item rows stand for.
        numbers: as-of numbers of the candidates of these sessions, flat, by feature field.

    Returns:
        One column for each of `record_specs`: lists of T or N values, of one value for a `[B]` tensor.
    """
    candidates, behaviors = sessions.column("candidates"), sessions.column("behavior_item")
    candidate_rows, behavior_rows = candidates.flatten(), behaviors.flatten()
    columns: dict[str, pa.Array] = {
        "behavior_count": _single(pa.array(_lengths(behaviors), pa.int64())),
        "candidate_count": _single(pa.array(_lengths(candidates), pa.int64())),
        "candidate_label": sessions.column("label"),
        "behavior_action": _like(behaviors, pa.array(ACTIONS).take(sessions.column("behavior_action").flatten())),
        "behavior_age_days": sessions.column("behavior_age_days"),
    }
    for feature in features.item_features:
        columns[feature.name] = _like(candidates, items.column(feature.column).take(candidate_rows))
    for feature in features.impression_features:
        columns[feature.name] = sessions.column(feature.name)
    for feature in features.candidate_features:
        if feature.as_of is not None:
            columns[feature.name] = _like(candidates, pa.array(numbers[feature.field], pa.float32()))
    for feature in features.behavior_features:
        if feature.field in features.item:
            columns[feature.name] = _like(behaviors, items.column(feature.column).take(behavior_rows))
    for spec in record_specs(features):
        if spec.name not in columns:
            columns[spec.name] = _single(sessions.column(spec.name))
    return pa.RecordBatch.from_arrays(
        [columns[spec.name] for spec in record_specs(features)],
        schema=pa.schema([(spec.name, pa.list_(_ARROW[spec.dtype])) for spec in record_specs(features)]),
    )


def record_schema(features: Features) -> schema_pb2.Schema:
    """The records' schema for tools that read tensorflow_metadata: a `[B]` tensor has shape [1]."""
    types = {"string": schema_pb2.BYTES, "float32": schema_pb2.FLOAT, "int64": schema_pb2.INT}
    schema = schema_pb2.Schema()
    for spec in record_specs(features):
        feature = schema.feature.add(name=spec.name, type=types[spec.dtype])
        if spec.axis:
            feature.value_count.min = 0 if spec.axis == "T" else 1
        else:
            feature.presence.min_fraction = 1
            feature.shape.dim.add(size=1)
    return schema


def _lengths(lists: pa.ListArray) -> np.ndarray:
    return np.diff(lists.offsets.to_numpy())


def _single(values: pa.Array) -> pa.ListArray:
    return pa.ListArray.from_arrays(pa.array(np.arange(len(values) + 1), pa.int32()), values)


def _like(lists: pa.ListArray, values: pa.Array) -> pa.ListArray:
    """Other values in lists of the same lengths; `lists` may be a slice."""
    offsets = lists.offsets.to_numpy()
    return pa.ListArray.from_arrays(pa.array(offsets - offsets[0], pa.int32()), values)
