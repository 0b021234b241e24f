"""Raw items to one sorted batch, the side input of everything after it."""

from __future__ import annotations

import apache_beam as beam
import pyarrow as pa

from pipeline.batches import GatherBatches
from pipeline.config import Scenario
from pipeline.counters import count
from pipeline.features import USER_ENTITY, Features
from pipeline.item_index import ItemIndex
from pipeline.raw_tables import items_schema


class IndexItems(beam.PTransform):
    """Batches of raw items to a single batch for `ItemIndex`. Counts kept and repeated items."""

    def __init__(self, scenario: Scenario) -> None:
        super().__init__()
        self._scenario = scenario

    def expand(self, items: beam.PCollection) -> beam.PCollection:
        """Gathers, sorts, removes repeated ids."""
        features, seed = self._scenario.features, self._scenario.pipeline.seed
        columns = tuple(column for entity, column in entity_columns(features).items() if column != "item_id")

        def build(batch: pa.RecordBatch) -> pa.RecordBatch:
            index = ItemIndex.build(batch, columns, seed)
            count("kept/items", index.num_rows)
            count("dropped/items/duplicate", batch.num_rows - index.num_rows)
            return index

        return items | "SortItems" >> GatherBatches(items_schema(features), build)


def entity_columns(features: Features) -> dict[str, str]:
    """The raw column of each entity of items that has as-of features, co-purchases among them."""
    columns = {feature.field: feature.column for feature in features.item_features}
    entities = dict.fromkeys(as_of.entity for as_of in features.as_of.values() if as_of.entity != USER_ENTITY)
    return {entity: columns[entity] for entity in entities}
