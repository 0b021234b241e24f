"""Record batches to compressed TFRecord files."""

from __future__ import annotations

import os
from pathlib import Path

import apache_beam as beam
import pyarrow as pa
import tensorflow as tf
from tfx_bsl.public.tfxio import RecordBatchToExamplesEncoder

from pipeline.features import Features
from pipeline.records import record_schema

_GZIP = tf.io.TFRecordOptions(compression_type="GZIP", compression_level=1)


@beam.typehints.with_output_types(str)
class WriteRecords(beam.DoFn):
    """Pairs of ((part, shard), batch) to `<part>/part-<shard>-of-<shards>.tfrecord.gz`; yields the paths.

    A file holds one user shard in the order of its sessions, so the same log gives the same
    records in the same places. `beam.io.WriteToTFRecord` would deal records out to files at random, and hold all
    of them in memory on the local runner. A file has its name only once it is complete, so a
    bundle that is tried again does no harm.

    Args:
        directory: of all parts.
        features: the declaration.
        shards: how many files a part has at most; a shard without records has no file.
    """

    def __init__(self, directory: Path, features: Features, shards: int) -> None:
        self._directory = directory
        self._features = features
        self._shards = shards

    def start_bundle(self) -> None:
        """No file is open."""
        self._encoder = RecordBatchToExamplesEncoder(record_schema(self._features))
        self._writers: dict[Path, tf.io.TFRecordWriter] = {}

    def process(self, element: tuple[tuple[str, int], pa.RecordBatch]) -> None:
        """Encodes and writes one batch."""
        (part, shard), records = element
        path = self._directory / part / f"part-{shard:05d}-of-{self._shards:05d}.tfrecord.gz"
        if path not in self._writers:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._writers[path] = tf.io.TFRecordWriter(str(_incomplete(path)), _GZIP)
        for example in self._encoder.encode(_with_bytes(records)):
            self._writers[path].write(example)

    def finish_bundle(self) -> None:
        """Closes the files and gives them their names."""
        for path, writer in self._writers.items():
            writer.close()
            _incomplete(path).replace(path)
        self._writers = {}


def _with_bytes(records: pa.RecordBatch) -> pa.RecordBatch:
    """Text as bytes, without a copy: the encoder takes no text."""
    text, plain = pa.list_(pa.string()), pa.list_(pa.binary())
    return records.cast(
        pa.schema([field.with_type(plain if field.type == text else field.type) for field in records.schema])
    )


def _incomplete(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}")
