"""How a popular entity's requests are cut, so that no group holds all of them."""

from __future__ import annotations

from collections.abc import Iterable

import apache_beam as beam
import numpy as np
import pyarrow as pa

from pipeline.item_index import ItemIndex

#: Candidates of a group of requests; with their behaviours about 200 MB.
_REQUESTS = 1_000_000
#: Number of slices of each bucket of each entity.
Slices = dict[str, np.ndarray]


class PlanSlices(beam.PTransform):
    """Batches of resolved sessions to one `Slices`.

    An item that every session shows has as many requests as there are sessions. Its bucket is
    cut into slices, each with a part of the requests and all of the events. A slice has the
    requests of some user shards, so there are no more slices than shards.

    Args:
        items: side input, the batch of `IndexItems`.
        columns: raw column of each entity.
        buckets: of the entities' codes, as many as user shards.
    """

    def __init__(self, items: beam.pvalue.AsSingleton, columns: dict[str, str], buckets: int) -> None:
        super().__init__()
        self._items = items
        self._columns = columns
        self._buckets = buckets

    def expand(self, sessions: beam.PCollection) -> beam.PCollection:
        """Counts requests in each batch, then adds the counts; sampling later leaves fewer."""
        return (
            sessions
            | "CountRequests" >> beam.Map(_count, self._items, self._columns, self._buckets)
            | "AddRequests" >> beam.CombineGlobally(_add)
            | "Plan" >> beam.Map(_plan, self._columns, self._buckets)
        )


def _count(sessions: pa.RecordBatch, items: pa.RecordBatch, columns: dict[str, str], buckets: int) -> Slices:
    item = sessions.column("candidates").flatten().to_numpy()
    codes = {entity: ItemIndex(items).codes(column)[item] for entity, column in columns.items()}
    return {entity: np.bincount(code[code >= 0] % buckets, minlength=buckets) for entity, code in codes.items()}


def _add(counts: Iterable[Slices]) -> Slices:
    total: Slices = {}
    for count in counts:
        total = {entity: total.get(entity, 0) + numbers for entity, numbers in count.items()}
    return total


def _plan(requests: Slices, columns: dict[str, str], buckets: int) -> Slices:
    none = np.zeros(buckets, np.int64)
    return {entity: np.clip(-(-requests.get(entity, none) // _REQUESTS), 1, buckets) for entity in columns}
