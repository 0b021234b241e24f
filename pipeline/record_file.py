"""Which file a batch of records is."""

from __future__ import annotations

import re
from typing import NamedTuple

from pipeline.prepared_data import PARTS, Part

#: Path of a file of records below its revision.
RECORD_FILE = re.compile(rf"(?P<part>{'|'.join(PARTS)})/(?P<day>[^/]+)/shard-\d+-\d+\.tfrecord\.gz")


class RecordFile(NamedTuple):
    """One file of records: a block of a user shard's sessions of one part and day."""

    part: Part
    day: str
    shard: int
    block: int

    @property
    def name(self) -> str:
        """Path below the revision's folder, see `RECORD_FILE`; the same log gives the same name."""
        return f"{self.part}/{self.day}/shard-{self.shard:05d}-{self.block:05d}.tfrecord.gz"
