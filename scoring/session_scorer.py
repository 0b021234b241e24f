"""Scores serialized sessions with an exported model, as Beam's RunInference asks for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf
from apache_beam.ml.inference.base import ModelHandler

from model.dataset import raw_batch
from pipeline.errors import InputError
from pipeline.features import Features

#: One row a candidate: `position` is its place in the record, from 0; `score` is what `score_items` answers.
SCORES = pa.schema(
    {
        "session_id": pa.string(),
        "item_id": pa.string(),
        "position": pa.int32(),
        "label": pa.int8(),
        "score": pa.float32(),
    }
)
#: Sessions scored at a time: every pair of their candidates and behaviours is in memory.
_BATCH_SIZE = 64
#: Serialized sessions `[B]` to raw columns and scores `[B, N]`.
Scorer = Callable[[tf.Tensor], tuple[dict[str, tf.Tensor], tf.Tensor]]


class SessionScorer(ModelHandler[bytes, pa.Table, Scorer]):
    """Serialized `tf.train.Example`, one a session, to tables of `SCORES`, one a batch.

    RunInference loads the model once a worker process and makes the batches.

    Args:
        version_directory: of the SavedModel; every worker must see it under this name.
        features: the declaration it was trained with.
    """

    def __init__(self, version_directory: Path, features: Features) -> None:
        super().__init__(min_batch_size=_BATCH_SIZE, max_batch_size=_BATCH_SIZE)
        self._version_directory = version_directory
        self._features = features

    def load_model(self) -> Scorer:
        """The SavedModel with the parsing of records before it, in one graph."""
        saved = tf.saved_model.load(str(self._version_directory))
        gate_names = [spec.name for spec in self._features.gate_inputs]
        score_names = [spec.name for spec in self._features.score_inputs]

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
        def score(serialized: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
            raw = raw_batch(serialized, self._features)
            gate = saved.signatures["session_gate"](**{name: raw[name] for name in gate_names})["gate"]
            score_inputs = {name: raw[name] for name in score_names}
            scores = saved.signatures["score_items"](gate=gate, **score_inputs)["scores"]
            kept = ("session_id", "candidate_item_id", "candidate_label", "candidate_count")
            return {name: raw[name] for name in kept}, scores

        return score

    def run_inference(
        self, batch: Sequence[bytes], model: Scorer, inference_args: dict[str, Any] | None = None
    ) -> Iterable[pa.Table]:
        """One table of all candidates of the batch.

        Raises:
            InputError: a record is damaged, or of other features.
        """
        try:
            raw, scores = model(tf.constant(batch, tf.string))
        except tf.errors.InvalidArgumentError as error:
            reason = str(error.message).strip().splitlines()[0]
            raise InputError(f"a record cannot be read ({reason}); preprocess again") from None
        return [_rows({name: tensor.numpy() for name, tensor in raw.items()}, scores.numpy())]


def _rows(raw: dict[str, np.ndarray], scores: np.ndarray) -> pa.Table:
    counts = raw["candidate_count"]
    positions = np.broadcast_to(np.arange(scores.shape[1], dtype=np.int32), scores.shape)
    real = positions < counts[:, np.newaxis]
    columns = [
        pa.array(np.repeat(raw["session_id"], counts), pa.binary()).cast(pa.string()),
        pa.array(raw["candidate_item_id"][real], pa.binary()).cast(pa.string()),
        pa.array(positions[real]),
        pa.array(raw["candidate_label"][real].astype(np.int8)),
        pa.array(scores[real]),
    ]
    return pa.table(columns, schema=SCORES)
