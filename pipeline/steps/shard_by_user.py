"""Cuts batches by a hash of the user, so that a group holds all that a user's sessions need."""

from __future__ import annotations

from collections.abc import Iterator

import apache_beam as beam
import numpy as np
import pyarrow as pa

from pipeline.batches import split_batch
from pipeline.config import Scenario
from pipeline.sampling import hash_texts, mix_hashes


class ShardByUser(beam.PTransform):
    """Batches with a column `user_id` to pairs of (shard, batch)."""

    def __init__(self, scenario: Scenario) -> None:
        super().__init__()
        self._seed = scenario.pipeline.seed
        self._shards = scenario.pipeline.shards

    def expand(self, batches: beam.PCollection) -> beam.PCollection:
        """One batch becomes at most as many as there are shards."""
        return batches | "CutByUser" >> beam.FlatMap(self._cut).with_output_types(tuple[int, pa.RecordBatch])

    def _cut(self, batch: pa.RecordBatch) -> Iterator[tuple[int, pa.RecordBatch]]:
        hashes = mix_hashes(hash_texts(batch.column("user_id"), self._seed), "shard")
        return split_batch(batch, (hashes % np.uint64(self._shards)).astype(np.int64))
