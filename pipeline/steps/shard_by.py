"""Cuts batches by a hash of a column, so that a group holds all the rows of its values."""

from __future__ import annotations

from collections.abc import Iterator

import apache_beam as beam
import numpy as np
import pyarrow as pa

from pipeline.batches import split_batch
from pipeline.config import Scenario
from pipeline.sampling import hash_texts, mix_hashes


class ShardBy(beam.PTransform):
    """Batches with a text column to pairs of (shard, batch)."""

    def __init__(self, column: str, scenario: Scenario) -> None:
        super().__init__()
        self._column = column
        self._seed = scenario.pipeline.seed
        self._shards = scenario.pipeline.join_shards

    def expand(self, batches: beam.PCollection) -> beam.PCollection:
        """One batch becomes at most as many as there are shards."""
        return batches | "Cut" >> beam.FlatMap(self._cut).with_output_types(tuple[int, pa.RecordBatch])

    def _cut(self, batch: pa.RecordBatch) -> Iterator[tuple[int, pa.RecordBatch]]:
        hashes = mix_hashes(hash_texts(batch.column(self._column), self._seed), "shard")
        return split_batch(batch, (hashes % np.uint64(self._shards)).astype(np.int64))
