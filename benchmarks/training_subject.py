"""A model of configs/search.yaml that trains on made-up sessions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from benchmarks.random_assets import random_assets
from benchmarks.random_model import SEARCH
from benchmarks.session_example import session_example
from export.random_sessions import random_sessions
from model.build_model import build_model
from model.preprocessing import Preprocessing
from model.ranker import Ranker
from model.training.optimizer import optimizer
from pipeline.config import Scenario
from pipeline.encoding_assets import EncodingAssets
from pipeline.scenario_file import load_scenario

Batch = dict[str, tf.Tensor]
#: A table with as many rows has a vocabulary whose size is the benchmark's to choose.
_VOCABULARY = 20_000


@dataclass(frozen=True)
class TrainingSubject:
    """The model, and what makes batches and records for it.

    Attributes:
        model: compiled, with fresh weights.
        step: trains it on a batch, and gives the loss; compiled to a graph.
        table_rows: rows of each of its tables.
    """

    scenario: Scenario
    assets: EncodingAssets
    preprocessing: Preprocessing
    model: Ranker
    step: Callable[[Batch], float]
    table_rows: dict[str, int]

    @classmethod
    def make(
        cls, directory: Path, overrides: Sequence[str] = (), *, config: Path = SEARCH, rows: int = _VOCABULARY
    ) -> TrainingSubject:
        """A subject.

        Args:
            directory: gets vocabularies of 20,000 values.
            overrides: `key=value` over the scenario file.
            config: the file.
            rows: of the tables that have vocabularies.
        """
        scenario = load_scenario(config, overrides)
        assets = random_assets(directory, scenario.features, _VOCABULARY)
        preprocessing = Preprocessing(scenario.features, assets)
        table_rows = {n: rows if found > _VOCABULARY else found for n, found in preprocessing.table_rows.items()}
        model = build_model(scenario, table_rows)
        raw = random_sessions(scenario.features, assets, batch=1, behaviors=1, candidates=1, seed=1)
        encoded = preprocessing(raw)
        model(encoded)
        model.compile(optimizer=optimizer(model, scenario.training))
        of_records = {"candidate_label": tf.zeros([1, 1]), "user_fingerprint": tf.zeros([1], tf.int64)}
        # as those of `session_dataset`, so that one graph serves batches of all sizes
        specs = {n: tf.TensorSpec([None] * t.shape.rank, t.dtype) for n, t in {**encoded, **of_records}.items()}
        step = tf.function(model.train_step, input_signature=[specs])

        def train(batch: Batch) -> float:
            return float(step({name: batch[name] for name in specs})["loss"])

        return cls(scenario, assets, preprocessing, model, train, table_rows)

    def raw_sessions(self, sessions: int, candidates: int, behaviors: int, seed: int = 1) -> dict[str, np.ndarray]:
        """Sessions of exactly so many candidates and behaviours, every column of a record."""
        sizes = {"batch": sessions, "behaviors": behaviors, "candidates": candidates}
        raw = random_sessions(self.scenario.features, self.assets, **sizes, seed=seed)
        rng = np.random.default_rng(seed)
        return {name: tensor.numpy() for name, tensor in raw.items()} | {
            "behavior_count": np.full(sessions, behaviors),
            "candidate_count": np.full(sessions, candidates),
            "candidate_label": rng.integers(0, 2, (sessions, candidates)).astype(np.float32),
            "session_id": np.array([f"s{i}" for i in range(sessions)], object),
            "user_id": np.array([f"u{i}" for i in range(sessions)], object),
            "time": np.arange(sessions),
        }

    def batch(self, sessions: int, candidates: int, behaviors: int) -> Batch:
        """An encoded batch, as `session_dataset` gives it; ids are drawn from all rows of their tables."""
        raw = {name: tf.constant(values) for name, values in self.raw_sessions(sessions, candidates, behaviors).items()}
        encoded = self.preprocessing(raw)
        rng = np.random.default_rng(2)
        for feature in self.scenario.features.encoded:
            if feature.table is not None:
                shape, rows = encoded[feature.name].shape, self.table_rows[feature.table]
                encoded[feature.name] = tf.constant(rng.integers(1, rows, shape), encoded[feature.name].dtype)
        users = tf.range(sessions, dtype=tf.int64)
        return {**encoded, "candidate_label": raw["candidate_label"], "user_fingerprint": users}

    def write_records(self, file: Path, sessions: int, candidates: int, behaviors: int, seed: int) -> None:
        """A gzipped TFRecord file of such sessions."""
        raw = self.raw_sessions(sessions, candidates, behaviors, seed)
        with tf.io.TFRecordWriter(str(file), options="GZIP") as writer:
            for row in range(sessions):
                writer.write(session_example(self.scenario.features, raw, row))
