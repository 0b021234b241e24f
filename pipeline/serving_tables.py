"""What the serving side needs to complete a request: items, and as-of numbers as of the log's end."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from pipeline.as_of import entity_features
from pipeline.features import Features
from pipeline.item_index import ItemIndex


def items_table(features: Features, items: ItemIndex) -> pa.Table:
    """All items: item_id, title, and each declared field under its own name."""
    columns = {name: items.column(name) for name in ("item_id", "title")}
    for feature in features.item_features:
        columns[feature.field] = items.column(feature.column)
    return pa.table(columns)


def as_of_table(features: Features, entity: str, names: pa.Array, at_end: Iterable[pa.RecordBatch]) -> pa.Table:
    """All entities of one kind with their numbers; an entity without events has count 0 and no age.

    Args:
        features: the declaration.
        entity: a field of `item`; the name of the key column.
        names: the value of each entity number.
        at_end: batches with `#code` and a column a feature, see `AnswerAsOf`.
    """
    columns = {
        name: np.full(len(names), 0 if feature.measure == "count" else np.nan, np.float32)
        for name, feature in entity_features(features.as_of)[entity].items()
    }
    for batch in at_end:
        for name in columns:
            columns[name][batch.column("#code").to_numpy()] = batch.column(name).to_numpy()
    return pa.table({entity: names, **{name: pa.array(values) for name, values in columns.items()}})


def co_purchases_table(totals: pa.RecordBatch, items: ItemIndex) -> pa.Table:
    """item_id, other_item_id, count: how often one user bought both; both directions.

    Args:
        totals: item rows `item` and `other`, and `count`; see `CoPurchases.totals`.
        items: what the rows stand for.
    """
    ids = items.column("item_id")
    return pa.table(
        {
            "item_id": ids.take(totals.column("item")),
            "other_item_id": ids.take(totals.column("other")),
            "count": totals.column("count"),
        }
    )
