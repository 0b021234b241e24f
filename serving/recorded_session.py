"""Sessions of the prepared records, as requests: what a search engine would have sent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import tensorflow as tf

from pipeline.errors import InputError
from pipeline.features import Feature, Features, Numeric
from pipeline.prepared_data import Part, PreparedData
from serving.request import Session


@dataclass(frozen=True)
class RecordedSession:
    """A session of the log with what is known of its outcome.

    `candidates` are what `SessionRanker` takes, `labels` `[N]` is 1 where bought.
    """

    session_id: str
    user_id: str
    session: Session
    candidates: list[dict[str, Any]]
    labels: np.ndarray


def recorded_sessions(data: PreparedData, features: Features, part: Part = "test") -> Iterator[RecordedSession]:
    """The sessions of a part, in the order of its files."""
    records = tf.data.TFRecordDataset(data.files(part), compression_type="GZIP")
    for record in records.as_numpy_iterator():
        yield _decode(tf.train.Example.FromString(record), features)


def recorded_session(data: PreparedData, features: Features, number: int, part: Part = "test") -> RecordedSession:
    """The session with this number, counted from 0.

    Raises:
        InputError: the part has fewer sessions.
    """
    found = next(islice(recorded_sessions(data, features, part), number, None), None)
    if found is None:
        raise InputError(f"{data.directory}: its {part} part has {data.sessions(part):,} sessions, counted from 0")
    return found


def _decode(example: tf.train.Example, features: Features) -> RecordedSession:
    columns = {name: _values(feature) for name, feature in example.features.feature.items()}

    def rows(group: tuple[Feature, ...], count: int) -> list[dict[str, Any]]:
        return [{f.field: _value(f, columns[f.name][index]) for f in group} for index in range(count)]

    session = Session(
        behaviors=rows(features.behavior_features, columns["behavior_count"][0]),
        query=rows(features.query_features, 1)[0],
        user=rows(features.user_features, 1)[0],
    )
    return RecordedSession(
        session_id=columns["session_id"][0].decode(),
        user_id=columns["user_id"][0].decode(),
        session=session,
        candidates=rows(features.candidate_features, columns["candidate_count"][0]),
        labels=np.array(columns["candidate_label"]),
    )


def _values(feature: tf.train.Feature) -> Any:
    kind = feature.WhichOneof("kind")
    return getattr(feature, kind).value if kind else ()


def _value(feature: Feature, raw: Any) -> Any:
    return raw if isinstance(feature.declaration, Numeric) else raw.decode()
