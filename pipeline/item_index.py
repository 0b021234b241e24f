"""All items, sorted by id: text ids become row numbers, and row numbers become column values."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.batches import least_of_each
from pipeline.sampling import hash_texts

_HASH = "#hash"


class ItemIndex:
    """The items as every worker holds them.

    Args:
        batch: as `build` makes it.
    """

    def __init__(self, batch: pa.RecordBatch) -> None:
        self.batch = batch

    @staticmethod
    def build(items: pa.RecordBatch, entities: tuple[str, ...], seed: int) -> pa.RecordBatch:
        """Sorts items, keeps one of each id, and adds hashes and numbers of the entities.

        Args:
            items: in the schema of raw items.
            entities: raw columns whose values are numbered (brand, category).
            seed: key of the hashes.
        """
        items = least_of_each(items, "item_id")
        items = items.append_column(_HASH, pa.array(hash_texts(items.column("item_id"), seed), pa.uint64()))
        for column in entities:
            values = items.column(column)
            names = pc.unique(pc.filter(values, pc.not_equal(values, ""))).sort()
            codes = pc.fill_null(pc.index_in(values, names), -1)
            items = items.append_column(_code(column), codes)
        return items

    def __len__(self) -> int:
        return self.batch.num_rows

    def rows(self, ids: pa.Array) -> np.ndarray:
        """Row numbers of items, -1 for an unknown one."""
        return pc.fill_null(pc.index_in(ids, self.batch.column("item_id")), -1).to_numpy()

    def column(self, name: str) -> pa.Array:
        """A raw column, one value a row."""
        return self.batch.column(name)

    def hashes(self) -> np.ndarray:
        """Keyed hash of each item's id."""
        return self.batch.column(_HASH).to_numpy()

    def codes(self, column: str) -> np.ndarray:
        """Number of each item's entity; -1 where the item has none. An item's own number is its row."""
        return np.arange(len(self)) if column == "item_id" else self.batch.column(_code(column)).to_numpy()

    def entities(self, column: str) -> pa.Array:
        """The value of each entity number."""
        values = self.batch.column(column)
        if column == "item_id":
            return values
        codes, first = np.unique(self.codes(column), return_index=True)
        return values.take(pa.array(first[codes >= 0]))


def _code(column: str) -> str:
    return f"#code_{column}"
