"""A run's scores for every candidate of prepared sessions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import tensorflow as tf
from scipy.special import expit

from model.dataset import broken_files_named, raw_dataset
from model.run_directory import Run
from pipeline.config import Slice

#: Sessions scored at a time: every pair of their candidates and behaviours is in memory.
_BATCH_SIZE = 64


def predict(run: Run, files: Sequence[str], sessions: int | None = None) -> pa.Table:
    """Scores the candidates of TFRecord files.

    Args:
        sessions: how many the files must hold.

    Returns:
        One row a candidate: `session_id`, `user_id`, `item_id`, `label` (0 or 1), `score`
        (float64: a probability, or with the listwise or pairwise loss a logit),
        `behavior_count`, `popularity` (raw, where
        `evaluation.popularity` is set), `displayed` (minus the raw number, where
        `evaluation.displayed` is set: the lowest ranks first), and for each slice `slice_<name>`, whether its
        session belongs to it.

    Raises:
        InputError: a file is broken, or they do not hold as many sessions.
    """
    batches = raw_dataset(files, run.scenario.features, batch_size=_BATCH_SIZE, sessions=sessions)
    batches = batches.prefetch(tf.data.AUTOTUNE)

    @tf.function(input_signature=[batches.element_spec])
    def logits(raw: dict[str, tf.Tensor]) -> tf.Tensor:
        return run.model(run.preprocessing(raw))

    with broken_files_named(files, run.scenario.features):
        tables = [_candidate_rows(run, {k: v.numpy() for k, v in raw.items()}, logits(raw).numpy()) for raw in batches]
    return pa.concat_tables(tables) if tables else pa.table({})


def _candidate_rows(run: Run, raw: dict[str, np.ndarray], logits: np.ndarray) -> pa.Table:
    evaluation = run.scenario.evaluation
    counts = raw["candidate_count"]
    real = np.arange(logits.shape[1]) < counts[:, np.newaxis]
    columns = {
        "session_id": _strings(np.repeat(raw["session_id"], counts)),
        "user_id": _strings(np.repeat(raw["user_id"], counts)),
        "item_id": _strings(raw["candidate_item_id"][real]),
        "label": pa.array(raw["candidate_label"][real].astype(np.int8)),
        "score": pa.array(_scores(run, logits[real])),
        "behavior_count": pa.array(np.repeat(raw["behavior_count"], counts)),
    }
    if evaluation.popularity:
        columns["popularity"] = pa.array(raw[f"candidate_{evaluation.popularity}"][real])
    if evaluation.displayed:
        columns["displayed"] = pa.array(-raw[f"candidate_{evaluation.displayed}"][real])
    for part in evaluation.slices:
        columns[f"slice_{part.name}"] = pa.array(np.repeat(in_slice(part, raw), counts))
    return pa.table(columns)


def _scores(run: Run, logits: np.ndarray) -> np.ndarray:
    """`Ranker.scores` in float64, one number at a time: TensorFlow's sigmoid may part equal logits by their places."""
    logits = logits.astype(np.float64)
    return expit(logits) if run.scenario.training.scores_are_probabilities else logits


def in_slice(part: Slice, raw: dict[str, np.ndarray]) -> np.ndarray:
    """Which raw sessions belong to a slice, `[B]`."""
    if part.max_behaviors is not None:
        return raw["behavior_count"] <= part.max_behaviors
    return np.isin(raw[str(part.feature)], np.array([value.encode() for value in part.values], object))


def _strings(values: np.ndarray) -> pa.Array:
    return pa.array(values, pa.binary()).cast(pa.string())
