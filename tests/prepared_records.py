"""Reads prepared records as TensorFlow does, from the declared columns alone."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from pipeline.features import Features, InputSpec
from pipeline.prepared_data import PARTS, Part, PreparedData
from pipeline.records import record_specs


def read_records(prepared: PreparedData, features: Features, part: Part) -> dict[str, dict[str, Any]]:
    """Records of a part by session id."""
    return read_files(prepared.files(part), features)


def read_files(files: Iterable[str], features: Features) -> dict[str, dict[str, Any]]:
    """Records of TFRecord files by session id."""
    examples = list(tf.data.TFRecordDataset(list(files), compression_type="GZIP"))
    if not examples:
        return {}
    parsers = {spec.name: _parser(spec) for spec in record_specs(features)}
    columns = {name: column.numpy() for name, column in tf.io.parse_example(tf.stack(examples), parsers).items()}
    rows = [{name: column[row] for name, column in columns.items()} for row in range(len(examples))]
    rows = [{n: _DECODE(v) if _is_text(v) else v for n, v in row.items()} for row in rows]
    records = {str(row["session_id"]): row for row in rows}
    assert len(records) == len(rows), "a session is there twice"
    return records


def comparable_records(prepared: PreparedData, features: Features) -> dict[tuple[str, str], dict[str, Any]]:
    """All records by part and session id, with values that `==` compares (NaN as None)."""
    return {
        (part, session): {name: _comparable(value) for name, value in record.items()}
        for part in PARTS
        for session, record in read_records(prepared, features, part).items()
    }


def record_messages(prepared: PreparedData) -> dict[str, list[tf.train.Example]]:
    """All records by part and file, parsed: their encoder writes a map's entries in no certain order."""
    messages = {}
    for part in PARTS:
        for file in prepared.files(part):
            records = tf.data.TFRecordDataset(file, compression_type="GZIP").as_numpy_iterator()
            name = str(Path(file).relative_to(prepared.directory)).partition("/")[2]  # without the revision
            messages[name] = [tf.train.Example.FromString(record) for record in records]
    return messages


def _comparable(value: Any) -> Any:
    return [None if each != each else each for each in np.atleast_1d(value).tolist()]


def _parser(spec: InputSpec) -> Any:
    dtype = {"string": tf.string, "float32": tf.float32, "int64": tf.int64}[spec.dtype]
    return tf.io.RaggedFeature(dtype) if spec.axis else tf.io.FixedLenFeature([], dtype)


def _is_text(value: Any) -> bool:
    return isinstance(value, bytes) or value.dtype == object


_DECODE = np.vectorize(bytes.decode, otypes=[object])
