"""The warm-up requests that lie in a version's directory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

#: TensorFlow Serving's own name: a TFRecord of `PredictionLog`.
WARMUP_FILE = Path("assets.extra") / "tf_serving_warmup_requests"


def read_warmup(version_directory: Path) -> Iterator[predict_pb2.PredictRequest]:
    """The requests, in order; none where there is no such file.

    Raises:
        tf.errors.OpError: the file is damaged.
        google.protobuf.message.DecodeError: a record is.
    """
    path = version_directory / WARMUP_FILE
    if path.exists():
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            yield prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
