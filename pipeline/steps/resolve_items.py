"""Item ids of events and sessions to row numbers of the item index."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.item_index import ItemIndex
from pipeline.rejects import reject_rows
from pipeline.user_history import ACTIONS

_Resolved = tuple[pa.RecordBatch, np.ndarray]  # the batch with row numbers, and which of its rows are good


class ResolveItems(beam.PTransform):
    """Batches of raw `events` or `sessions` to the same with item rows (`kept`) and `rejects`.

    A row with an item that is not among the items is a reject; a session with one such
    candidate is rejected whole, since a page without one of its items is another page.

    Args:
        table: `events` or `sessions`.
        items: side input, the batch of `IndexItems`.
    """

    def __init__(self, table: str, items: beam.pvalue.AsSingleton) -> None:
        super().__init__()
        self._table = table
        self._items = items

    def expand(self, batches: beam.PCollection) -> beam.pvalue.DoOutputsTuple:
        """Looks up whole batches."""
        resolve = {"events": _resolve_events, "sessions": _resolve_sessions}[self._table]
        return batches | "LookUpItems" >> beam.ParDo(_Resolve(self._table, resolve), self._items).with_outputs(
            "rejects", main="kept"
        )


@beam.typehints.with_output_types(pa.RecordBatch)
class _Resolve(beam.DoFn):
    def __init__(self, table: str, resolve: Callable[[pa.RecordBatch, ItemIndex], _Resolved]) -> None:
        self._table = table
        self._resolve = resolve

    def process(
        self, batch: pa.RecordBatch, items: pa.RecordBatch
    ) -> Iterator[pa.RecordBatch | beam.pvalue.TaggedOutput]:
        resolved, good = self._resolve(batch, ItemIndex(items))
        if good.any():
            yield resolved.filter(pa.array(good))
        given = batch.select([name for name in batch.schema.names if name != "new_item"])
        for reject in reject_rows(given.filter(pa.array(~good)), "unknown item", table=self._table):
            yield beam.pvalue.TaggedOutput("rejects", reject)


def _resolve_events(batch: pa.RecordBatch, items: ItemIndex) -> _Resolved:
    rows = items.rows(batch.column("item_id"))
    action = pc.index_in(batch.column("action"), pa.array(ACTIONS)).cast(pa.int8())
    columns = {
        "user_id": batch.column("user_id"),
        "item": pa.array(rows, pa.int32()),
        "action": action,
        "time": batch.column("time"),
    }
    return pa.RecordBatch.from_pydict(columns), rows >= 0


def _resolve_sessions(batch: pa.RecordBatch, items: ItemIndex) -> _Resolved:
    candidates = batch.column("candidates")
    rows = items.rows(candidates.flatten())
    lengths = pc.list_value_length(candidates).to_numpy(zero_copy_only=False)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    owner = np.repeat(np.arange(len(lengths)), lengths)
    unknown = np.bincount(owner[rows < 0], minlength=len(lengths)) > 0
    resolved = batch.set_column(
        batch.schema.get_field_index("candidates"),
        "candidates",
        pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(rows, pa.int32())),
    )
    return resolved, ~unknown
