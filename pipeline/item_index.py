"""All items, sorted by id: text ids become row numbers, and row numbers become column values."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.batches import least_of_each
from pipeline.sampling import hash_texts

_HASH = "#hash"
#: Hashes of the ids in rising order, and the row of each: with a key of their own, so that any batch can be looked up.
_SORTED_HASH, _ROW_OF_HASH = "#sorted_hash", "#row_of_hash"
_LOOKUP_SEED = 0


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
        lookup = hash_texts(items.column("item_id"), _LOOKUP_SEED)
        order = np.argsort(lookup)
        items = items.append_column(_SORTED_HASH, pa.array(lookup[order], pa.uint64()))
        items = items.append_column(_ROW_OF_HASH, pa.array(order, pa.int32()))
        for column in entities:
            values = items.column(column)
            names = pc.unique(pc.filter(values, pc.not_equal(values, ""))).sort()
            codes = pc.fill_null(pc.index_in(values, names), -1)
            items = items.append_column(_code(column), codes)
        return items

    def __len__(self) -> int:
        return self.batch.num_rows

    def rows(self, ids: pa.Array) -> np.ndarray:
        """Row numbers of items, -1 for an unknown one.

        The cost is that of the ids alone: Arrow's `index_in` would hash all items for each batch.
        """
        encoded = ids.dictionary_encode()
        return self._find(encoded.dictionary)[encoded.indices.to_numpy()]

    def _find(self, ids: pa.Array) -> np.ndarray:
        hashes, row_of_hash = (self.batch.column(name).to_numpy() for name in (_SORTED_HASH, _ROW_OF_HASH))
        wanted = hash_texts(ids, _LOOKUP_SEED)
        place = np.searchsorted(hashes, wanted)
        rows = np.full(len(ids), -1, np.int32)
        looking = np.arange(len(ids))
        while len(looking):  # once, but where two ids have one hash
            looking = looking[place[looking] < len(hashes)]
            looking = looking[hashes[place[looking]] == wanted[looking]]
            row = row_of_hash[place[looking]]
            same = pc.equal(ids.take(pa.array(looking)), self.batch.column("item_id").take(pa.array(row)))
            found = same.to_numpy(zero_copy_only=False)
            rows[looking[found]] = row[found]
            looking = looking[~found]
            place[looking] += 1
        return rows

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
