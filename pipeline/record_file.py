"""Which file a batch of records is."""

from __future__ import annotations

from typing import NamedTuple

from pipeline.prepared_data import Part


class RecordFile(NamedTuple):
    """One file of records: a block of a user shard's sessions of one part and day."""

    part: Part
    day: str
    shard: int
    block: int

    @property
    def name(self) -> str:
        """Path below the revision's folder; the same log gives the same name."""
        return f"{self.part}/{self.day}/shard-{self.shard:05d}-{self.block:05d}.tfrecord.gz"
