"""DeepCTR's DIN with random weights, on ids: how fast it is, not how well it ranks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks.peers.deepctr_library import deepctr_library
from pipeline.features import Categorical, Features

_ROWS = 20_000
_EMBEDDING = 16


@dataclass(frozen=True)
class DeepCTRForward:
    """The model and what makes its inputs.

    Attributes:
        network: Keras model of ids, a row a candidate.
        model: the same as a function, compiled to a graph.
        histories: inputs with the user's behaviours, `[M, T]`.
        targets: inputs of the candidate, the query and the user, `[M]`.
        behaviors: T.
    """

    network: Any
    model: Any
    histories: tuple[str, ...]
    targets: tuple[str, ...]
    behaviors: int

    def inputs(self, candidates: int, sessions: int = 1) -> dict[str, tf.Tensor]:
        """Random ids of the candidates of some sessions, `M` rows; a session's history is the same in all of its."""
        rng = np.random.default_rng(1)
        rows = {name: rng.integers(1, _ROWS, sessions * candidates) for name in self.targets}
        for name in self.histories:
            rows[name] = np.repeat(rng.integers(1, _ROWS, (sessions, self.behaviors)), candidates, axis=0)
        return {name: tf.constant(values, tf.int32) for name, values in rows.items()}

    def scores(self, rows: dict[str, tf.Tensor]) -> tf.Tensor:
        """Scores `[M, 1]`."""
        return self.model(rows)

    def training_step(self, rows: dict[str, tf.Tensor], labels: tf.Tensor) -> Callable[[], float]:
        """What trains it by one step, with Adam as in DeepCTR's examples, and gives the loss; labels are `[M]`."""
        self.network.compile("adam", "binary_crossentropy")
        step = tf.function(self.network.train_step)
        return lambda: float(step((rows, labels))["loss"])


def deepctr_forward(features: Features, behaviors: int, activation: str = "relu") -> DeepCTRForward:
    """DIN with one FFN 512-256 and attention 64-32 over the categorical features of a scenario.

    Args:
        features: whose categorical fields of items make the history too.
        behaviors: T, the length of every history.
        activation: of the attention; DeepCTR's own default is `dice`.
    """
    feature_column, din = deepctr_library()
    targets = {
        f.name: str(f.table)
        for f in (*features.candidate_features, *features.query_features, *features.user_features)
        if isinstance(f.declaration, Categorical)
    }
    fields = [f.field for f in features.behavior_features if f"candidate_{f.field}" in targets]

    def sparse(name: str, table: str) -> Any:
        return feature_column.SparseFeat(name, _ROWS, _EMBEDDING, embedding_name=table)

    histories = {f"hist_candidate_{field}": targets[f"candidate_{field}"] for field in fields}
    columns = [
        *(sparse(name, table) for name, table in targets.items()),
        *(feature_column.VarLenSparseFeat(sparse(name, table), behaviors) for name, table in histories.items()),
    ]
    network = din(
        columns,
        [f"candidate_{field}" for field in fields],
        dnn_hidden_units=(512, 256),
        att_hidden_size=(64, 32),
        att_activation=activation,
    )
    return DeepCTRForward(network, tf.function(network), tuple(histories), tuple(targets), behaviors)
