"""The search log: items, users, events and sessions as JSON Lines or Parquet (layout: docs/raw-log.md)."""

from __future__ import annotations

from collections.abc import Iterable

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.config import Scenario
from pipeline.errors import InputError
from pipeline.features import Feature, Features, MultiCategorical, Numeric
from pipeline.raw_tables import RawTables, impression_column
from pipeline.sources.layout import Layout
from pipeline.sources.list_files import list_files
from pipeline.sources.read_table import ReadTable
from pipeline.sources.rows import TIME, column
from pipeline.sources.table_files import table_files


def read_search_log(pipeline: beam.Pipeline, directory: str, scenario: Scenario, spill: str | None = None) -> RawTables:
    """Reads a search log's directory.

    Each table is one file or several: `items.jsonl`, `items.jsonl.gz`, `items.parquet`,
    `items-00000-of-00004.jsonl.gz`. `users` may be absent: every user is then without profile.

    Raises:
        InputError: the directory or a table is not there.
    """
    listed = list_files(directory, holds="items, users, events and sessions")
    read = {}
    for table, schema in _schemas(scenario.features).items():
        files = table_files(listed, table)
        if not files and table != "users":
            raise InputError(
                f"{directory}: has no {table}; expected {table}.jsonl, .jsonl.gz or .parquet, or shards of it"
            )
        read[table] = pipeline | f"Read{table.title()}" >> ReadTable(table, files, [Layout(schema)])
    return RawTables(
        items=read["items"].batches,
        users=read["users"].batches,
        events=read["events"].batches,
        sessions=read["sessions"].batches
        | "FlattenCandidates" >> beam.Map(_flatten_candidates, _lists(scenario.features)),
        rejects=tuple(table.rejects for table in read.values()) | "GatherRejects" >> beam.Flatten(),
    )


def _schemas(features: Features) -> dict[str, pa.Schema]:
    candidate = _with_features(
        [
            column("item_id", pa.string(), required=True),
            column("clicked", pa.bool_()),
            column("purchased", pa.bool_()),
        ],
        features.impression_features,
    )
    item_id = column("item_id", pa.string(), required=True)
    user_id = column("user_id", pa.string(), required=True)
    time = column("time", TIME, required=True)
    return {
        "items": _with_features([item_id, column("title", pa.string())], features.item_features),
        "users": _with_features([user_id], features.user_features),
        "events": pa.schema(
            [user_id, item_id, column("action", pa.string(), required=True, allowed=("click", "purchase")), time]
        ),
        "sessions": _with_features(
            [
                column("session_id", pa.string(), required=True),
                user_id,
                time,
                column("candidates", pa.list_(pa.field("candidate", pa.struct(list(candidate)))), required=True),
            ],
            features.query_features,
        ),
    }


def _with_features(fixed: list[pa.Field], features: Iterable[Feature]) -> pa.Schema:
    """The fixed columns and the features' own; of features that share a column the first one counts."""
    fields = {field.name: field for field in fixed}
    for feature in features:
        declaration = feature.declaration
        if feature.as_of is not None:
            continue
        if isinstance(declaration, Numeric):
            field = column(
                feature.column, pa.float32(), required=not declaration.optional, non_negative=declaration.log
            )
        elif isinstance(declaration, MultiCategorical):
            field = column(feature.column, pa.string(), separator=declaration.separator)
        else:
            field = column(feature.column, pa.string())
        fields.setdefault(feature.column, field)
    return pa.schema(list(fields.values()))


def _lists(features: Features) -> dict[str, str]:
    """The lists of a raw session, and the field of a candidate that each holds."""
    fixed = {"candidates": "item_id", "clicked": "clicked", "purchased": "purchased"}
    return fixed | {impression_column(feature.column): feature.column for feature in features.impression_features}


def _flatten_candidates(batch: pa.RecordBatch, lists: dict[str, str]) -> pa.RecordBatch:
    """`candidates`, a list of structs, becomes lists of one length, one a field; no session is a `new_item`."""
    candidates = batch.column("candidates")
    lengths = pc.list_value_length(candidates).to_numpy(zero_copy_only=False)
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
    values = candidates.flatten()
    columns = {name: batch.column(name) for name in batch.schema.names}
    for name, field in lists.items():
        columns[name] = pa.ListArray.from_arrays(offsets, pc.struct_field(values, field))
    columns["new_item"] = pa.array(np.zeros(batch.num_rows, bool))
    return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
