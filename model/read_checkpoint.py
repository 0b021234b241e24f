"""Reads a TensorFlow checkpoint in full, or tells why that is not possible."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf


class BrokenCheckpointError(Exception):
    """A checkpoint that is damaged, or of other objects; the message is the reason, one line."""


def read_checkpoint(checkpoint: tf.train.Checkpoint, path: Path) -> None:
    """Gives all objects of `checkpoint` the values of the file.

    Args:
        checkpoint: of objects whose variables are made.
        path: as it was written, without the ends of its files' names.

    Raises:
        BrokenCheckpointError: a file is gone or damaged, or has more or less than these objects,
            which then hold a mixture.
    """
    try:
        status = checkpoint.read(str(path))
        status.assert_existing_objects_matched()
        status.assert_consumed()
    # TensorFlow's reader makes of some damages an error of Python, as of an index.
    except (tf.errors.OpError, AssertionError, IndexError, RuntimeError, ValueError) as error:
        raise BrokenCheckpointError(str(error).strip().splitlines()[0]) from error
