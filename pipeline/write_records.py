"""Record batches to compressed TFRecord files."""

from __future__ import annotations

import tempfile
from pathlib import Path

import apache_beam as beam
import pyarrow as pa
import tensorflow as tf
from tfx_bsl.public.tfxio import RecordBatchToExamplesEncoder

from pipeline.features import Features
from pipeline.folder import Folder
from pipeline.record_file import RecordFile
from pipeline.records import record_schema

_GZIP = tf.io.TFRecordOptions(compression_type="GZIP", compression_level=1)


class WriteRecords(beam.DoFn):
    """Pairs of (`RecordFile`, batch) to files of gzipped `tf.train.Example`.

    A batch is one file, whose name follows from what is in it: a bundle that is tried again
    writes the same file. `beam.io.WriteToTFRecord` would deal records out to files at random,
    and hold all of them in memory on the local runner.

    Args:
        folder: of all parts.
        features: the declaration.
    """

    def __init__(self, folder: Folder, features: Features) -> None:
        self._folder = folder
        self._features = features

    def setup(self) -> None:
        """Makes the folder and the encoder."""
        self._folder.make()
        self._encoder = RecordBatchToExamplesEncoder(record_schema(self._features))

    def process(self, element: tuple[RecordFile, pa.RecordBatch]) -> None:
        """Encodes and writes one batch."""
        file, records = element
        # On the same disk where it can be, so that the file need not be copied.
        beside = self._folder.path if self._folder.is_local else None
        with tempfile.TemporaryDirectory(prefix=".records-", dir=beside) as directory:
            local = Path(directory) / "records"
            with tf.io.TFRecordWriter(str(local), _GZIP) as writer:
                for example in self._encoder.encode(_with_bytes(records)):
                    writer.write(example)
            self._folder.take(file.name, local)


def _with_bytes(records: pa.RecordBatch) -> pa.RecordBatch:
    """Text as bytes, without a copy: the encoder takes no text."""
    text, plain = pa.list_(pa.string()), pa.list_(pa.binary())
    return records.cast(
        pa.schema([field.with_type(plain if field.type == text else field.type) for field in records.schema])
    )
