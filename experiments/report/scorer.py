"""A run's logits, gates and expert scores of sessions in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from model.run_directory import Run

_BATCH_SIZE = 128
_COUNTS = {"behavior": "behavior_count", "candidate": "candidate_count"}


class Parts(NamedTuple):
    """What eq. 9 adds up: `sum_k gates_k scores_k` is the logit.

    Attributes:
        gates: `[B, N, K]`; the same for all candidates where the gate is once a session.
        scores: `[B, N, K]`. Both are 0 beyond a session's candidates.
    """

    gates: np.ndarray
    scores: np.ndarray


class Scorer:
    """Scores sessions batch by batch, those with alike numbers of behaviours together.

    Args:
        run: the trained model.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._logits = tf.function(run.model, reduce_retracing=True)
        self._parts = tf.function(self._gates_and_scores, reduce_retracing=True)

    def encode(self, raw: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """What the model takes, of raw sessions: `Preprocessing`, in NumPy."""
        inputs = {spec.name: tf.constant(raw[spec.name]) for spec in self._run.scenario.features.score_inputs}
        return {name: values.numpy() for name, values in self._run.preprocessing(inputs).items()}

    def logits(self, encoded: Mapping[str, np.ndarray]) -> np.ndarray:
        """Logits `[B, N]`; 0 beyond a session's candidates."""
        result = np.zeros(_shape(encoded), np.float32)
        for rows, batch in _batches(encoded):
            values = self._logits(batch).numpy()
            result[rows[:, np.newaxis], np.arange(values.shape[1])] = values
        return result * _real(encoded)

    def parts(self, encoded: Mapping[str, np.ndarray]) -> Parts:
        """Gates and expert scores of every candidate."""
        shape = (*_shape(encoded), self._run.scenario.model.expert_count)
        gates, scores = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        for rows, batch in _batches(encoded):
            gate, values = self._parts(batch)
            at = rows[:, np.newaxis], np.arange(values.shape[1])
            gates[at] = gate.numpy() if gate.shape.rank == 3 else gate.numpy()[:, np.newaxis]
            scores[at] = values.numpy()
        real = _real(encoded)[..., np.newaxis]
        return Parts(gates * real, scores * real)

    def _gates_and_scores(self, encoded: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        gate = self._run.model.session_gate(encoded)
        return gate, self._run.model.expert_scores(encoded, gate)


def _shape(encoded: Mapping[str, np.ndarray]) -> tuple[int, int]:
    sessions, candidates = encoded["candidate_item_id"].shape[:2]
    return sessions, candidates


def _real(encoded: Mapping[str, np.ndarray]) -> np.ndarray:
    """Which candidates are real, `[B, N]`."""
    return np.arange(_shape(encoded)[1]) < encoded["candidate_count"][:, np.newaxis]


def _batches(encoded: Mapping[str, np.ndarray]) -> Iterator[tuple[np.ndarray, dict[str, tf.Tensor]]]:
    """Rows and their sessions, cut to the longest of the batch."""
    order = np.argsort(encoded["behavior_count"], kind="stable")
    for start in range(0, len(order), _BATCH_SIZE):
        rows = order[start : start + _BATCH_SIZE]
        sizes = {group: max(int(encoded[count][rows].max()), 1) for group, count in _COUNTS.items()}
        yield rows, {name: tf.constant(_cut(name, values[rows], sizes)) for name, values in encoded.items()}


def _cut(name: str, values: np.ndarray, sizes: Mapping[str, int]) -> np.ndarray:
    group = name.partition("_")[0]
    return values[:, : sizes[group]] if values.ndim > 1 and group in sizes else values
