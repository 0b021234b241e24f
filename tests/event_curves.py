"""The curves of event files, read with TensorFlow alone."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

Curves = dict[str, list[tuple[int, float]]]


def event_curves(directory: Path) -> Curves:
    """Steps and values by name; where a file says that a session starts, what was after that step is void."""
    curves: Curves = {}
    for file in sorted(directory.glob("events.out.tfevents.*")):
        for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator():
            event = tf.compat.v1.Event.FromString(record)
            if event.HasField("session_log"):
                curves = {name: [point for point in points if point[0] < event.step] for name, points in curves.items()}
            for value in event.summary.value:
                curves.setdefault(value.tag, []).append((event.step, value.simple_value))
    return curves
