"""Reads a TensorFlow checkpoint in full, or tells why that is not possible."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

#: TensorFlow's reader makes of some damages an error of Python, as of an index.
_DAMAGES = (tf.errors.OpError, AssertionError, IndexError, RuntimeError, ValueError)


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
    except _DAMAGES as error:
        raise BrokenCheckpointError(_first_line(error)) from error


def why_unreadable(path: Path) -> str:
    """Why a checkpoint cannot be read to its end; empty where it can."""
    try:
        reader = tf.train.load_checkpoint(str(path))
        for name in reader.get_variable_to_shape_map():
            reader.get_tensor(name)
    except _DAMAGES as error:
        return _first_line(error)
    return ""


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
