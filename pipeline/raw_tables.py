"""The four raw tables as Arrow batches: what every source gives to the join.

| table | columns |
|---|---|
| items | item_id, title, and the columns that `features.item` reads |
| users | user_id, and the columns that `features.user` reads |
| events | user_id, item_id, action (`click` or `purchase`), time |
| sessions | session_id, user_id, time, the columns that `features.query` reads, |
|  | candidates, clicked, purchased (lists of one length), new_item, and |
|  | `candidates.<column>`, such a list, of each column that `features.impression` reads |

Ids and categorical columns are strings (missing: empty), numbers float32 (missing:
NaN), `time` is int64, seconds since 1970 UTC. `new_item` marks a session whose bought
item had no earlier event in a source that samples its candidates; such a session is
reported apart, never trained on.
"""

from __future__ import annotations

from dataclasses import dataclass

import apache_beam as beam
import pyarrow as pa

from pipeline.features import IMPRESSION_PREFIX, Feature, Features, Numeric


def items_schema(features: Features) -> pa.Schema:
    """Schema of a batch of items."""
    return _schema([("item_id", pa.string()), ("title", pa.string())], features.item_features)


def users_schema(features: Features) -> pa.Schema:
    """Schema of a batch of users."""
    return _schema([("user_id", pa.string())], [f for f in features.user_features if f.as_of is None])


def events_schema() -> pa.Schema:
    """Schema of a batch of events."""
    return _schema(
        [("user_id", pa.string()), ("item_id", pa.string()), ("action", pa.string()), ("time", pa.int64())], []
    )


def sessions_schema(features: Features) -> pa.Schema:
    """Schema of a batch of sessions; `candidates` holds item ids."""
    fixed: list[tuple[str, pa.DataType]] = [("session_id", pa.string()), ("user_id", pa.string()), ("time", pa.int64())]
    lists: list[tuple[str, pa.DataType]] = [
        ("candidates", pa.list_(pa.string())),
        ("clicked", pa.list_(pa.bool_())),
        ("purchased", pa.list_(pa.bool_())),
        ("new_item", pa.bool_()),
    ]
    lists += [(impression_column(feature.column), pa.list_(_type(feature))) for feature in features.impression_features]
    return _schema(fixed + lists, features.query_features)


def impression_column(field: str) -> str:
    """The column of raw sessions that holds a field of the impressions: a list with one value a candidate.

    It is named by the field's path in a search log, so that a query's column may have the field's own name.
    """
    return f"{IMPRESSION_PREFIX}{field}"


def _schema(fixed: list[tuple[str, pa.DataType]], declared: list[Feature] | tuple[Feature, ...]) -> pa.Schema:
    columns = dict(fixed)
    for feature in declared:
        columns.setdefault(feature.column, _type(feature))
    return pa.schema(list(columns.items()))


def _type(feature: Feature) -> pa.DataType:
    return pa.float32() if isinstance(feature.declaration, Numeric) else pa.string()


@dataclass(frozen=True)
class Reject:
    """A line of the raw log that is left out: which table and file, why, and the line itself."""

    table: str
    file: str
    reason: str
    line: str


@dataclass(frozen=True)
class RawTables:
    """PCollections of `pa.RecordBatch` in the schemas above, and of `Reject`."""

    items: beam.PCollection
    users: beam.PCollection
    events: beam.PCollection
    sessions: beam.PCollection
    rejects: beam.PCollection
