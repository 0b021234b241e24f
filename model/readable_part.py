"""How far a TFRecord file can be read."""

from __future__ import annotations

import gzip
import re
import zlib
from pathlib import Path
from typing import NamedTuple

import tensorflow as tf


class ReadablePart(NamedTuple):
    """The records before the first that cannot be read.

    Attributes:
        records: how many they are.
        size: bytes of the decompressed stream that they take: where reading stops.
        error: why it stops there; empty where that is the file's end.
    """

    records: int
    size: int
    error: str


def readable_part(file: str) -> ReadablePart:
    """Reads a gzipped TFRecord file as far as TensorFlow can."""
    dataset = tf.data.TFRecordDataset(file, "GZIP")
    try:
        records, size = _count(dataset)
    except tf.errors.DataLossError as error:
        records, size = _count(dataset.ignore_errors())
        return ReadablePart(records, size, first_line(error))
    except tf.errors.OpError as error:  # gone, or not to be opened: TensorFlow would ignore it without an end
        return ReadablePart(0, 0, first_line(error))
    return ReadablePart(records, size, _silent_end(file))


def first_line(error: tf.errors.OpError) -> str:
    """What TensorFlow says, without the place in its graph."""
    return re.sub(r"\{\{function_node [^}]*\}\}\s*|\s*\[Op:.*$", "", str(error.message).strip().splitlines()[0])


def _count(dataset: tf.data.Dataset) -> tuple[int, int]:
    """Records, and their bytes in the stream, where each has a length and two checksums: 16 bytes."""
    zero = tf.constant(0, tf.int64)
    records, size = dataset.reduce(
        (zero, zero), lambda sums, record: (sums[0] + 1, sums[1] + 16 + tf.cast(tf.strings.length(record), tf.int64))
    )
    return int(records), int(size)


def _silent_end(file: str) -> str:
    """TensorFlow takes some places where a gzip stream is cut off for its end."""
    if not Path(file).stat().st_size:
        return "the file is empty"
    try:
        with gzip.open(file) as stream:
            while stream.read(1 << 20):
                pass
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        return f"the file is truncated: {error}"
    return ""
