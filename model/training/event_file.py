"""Event files, which TensorBoard reads."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import tensorflow as tf

_SESSION_STARTS = 1  # SessionLog.START


class EventFile:
    """A new file of scalars by step, beside those that are there.

    It says that the curves begin anew at `first_step`: what earlier files have from there on is of steps that were
    lost with an interruption, and TensorBoard leaves it out. (`tf.summary` would write the same, but only where
    TensorBoard is installed.)

    Args:
        directory: made when it is not there; TensorBoard shows each directory as a run.
        first_step: the first that may follow.
    """

    def __init__(self, directory: Path, first_step: int = 0) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        # TensorBoard reads a directory's files in the order of their names.
        self._writer = tf.io.TFRecordWriter(str(directory / f"events.out.tfevents.{time.time_ns()}"))
        self._write(file_version="brain.Event:2")
        self._write(step=first_step, session_log={"status": _SESSION_STARTS})

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Adds a point to each of the curves, and sees that it is on the disk."""
        scalars = [{"tag": tag, "simple_value": value} for tag, value in values.items()]
        self._write(step=step, summary={"value": scalars})

    def _write(self, **fields: object) -> None:
        self._writer.write(tf.compat.v1.Event(wall_time=time.time(), **fields).SerializeToString())
        self._writer.flush()
