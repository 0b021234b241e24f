"""DeepCTR's DIN on the table of candidates: the usual library's version of our baseline.

It takes what our models take, as far as its inputs go: ids and lists as embeddings that behaviours and
candidates share, numbers and cross features as they are. Of a behaviour it takes ids alone, since each
of its fields must have one of the candidate beside it: ages, prices and actions of behaviours come in
as the table's means. It scores rows, not sessions, and every row carries a history of one fixed length.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from itertools import count
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks.peers.candidate_table import CandidateTable
from benchmarks.peers.deepctr_library import deepctr_library
from benchmarks.peers.mean_session_auc import mean_session_auc
from benchmarks.peers.peer_scores import PeerScores
from pipeline.config import Scenario
from pipeline.features import Categorical, Features, MultiCategorical

Settings = dict[str, Any]

#: A start, not the end of a search: on a quarter of Amazon Beauty's training sessions (configs/amazon_search.yaml,
#: 15 behaviours), session AUC was 0.7494 after half an epoch and 0.7528 after one, on half the validation part.
DEFAULT_SETTINGS: Settings = {
    "embedding": 16,
    "units": [512, 256],
    "attention": [64, 32],
    "attention_activation": "relu",
    "behaviors": 20,  # the newest so many
    "batch_size": 2048,  # rows
    "epochs": 2,
    "learning_rate": 1e-3,  # of Adam; falls to 0 in a straight line
    "dropout": 0.1,
    "embedding_l2": 1e-6,
    "id_dropout": 0.3,  # share of item ids hidden in training, as `model.id_dropout`
}

#: Times that an epoch is looked at, to take the weights that the validation part likes best.
_LOOKS_AN_EPOCH = 2
_SCORED_AT_ONCE = 8192


def fit_and_score(
    settings: Mapping[str, Any],
    scenario: Scenario,
    train: CandidateTable,
    validation: CandidateTable,
    test: CandidateTable,
    *,
    seed: int,
) -> PeerScores:
    """Fits DIN with Adam, takes the weights that the validation part likes best, and scores the test part.

    Args:
        settings: laid over `DEFAULT_SETTINGS`.
        scenario: of the tables.
        seed: of the weights and of the order of the rows. Sets TensorFlow's global seed.

    Returns:
        Logits; facts `parameters` (of the tables and beside them), `epochs` (that were best),
        `training_seconds`, `cpu_seconds` (of all threads), `validation_session_auc`, `cut_share` (of the
        test sessions with more behaviours than the model takes).
    """
    settings = {**DEFAULT_SETTINGS, **settings}
    tf.keras.utils.set_random_seed(seed)
    feed = _Feed(scenario.features, settings, train, _Scaling(train))
    model = feed.din(seed)
    # Keras calls an epoch what passes between two looks at the validation part.
    steps = -(-len(train.labels) // (settings["batch_size"] * _LOOKS_AN_EPOCH))
    looks = _LOOKS_AN_EPOCH * settings["epochs"]
    rate = tf.keras.optimizers.schedules.PolynomialDecay(settings["learning_rate"], steps * looks, 0.0)
    model.compile(tf.keras.optimizers.Adam(rate), loss="binary_crossentropy")

    started, cpu_started = time.perf_counter(), time.process_time()
    best = _BestWeights(validation, feed.batches(validation))
    model.fit(feed.batches(train, seed), steps_per_epoch=steps, epochs=looks, callbacks=[best], verbose=0)
    model.set_weights(best.weights)
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started

    of_tables = sum(int(np.prod(w.shape)) for w in model.trainable_weights if "_emb_" in w.name)
    facts = {
        "parameters": {"tables": of_tables, "dense": int(model.count_params()) - of_tables},
        "epochs": best.look / _LOOKS_AN_EPOCH,
        "training_seconds": round(seconds, 1),
        "cpu_seconds": round(cpu_seconds, 1),
        "validation_session_auc": round(best.auc, 5),
        "cut_share": round(float(np.mean(test.behavior_counts > settings["behaviors"])), 4),
    }
    return PeerScores(_logits(model, feed.batches(test)), facts)


def equal_units(scenario: Scenario, train: CandidateTable, parameters: int) -> list[int]:
    """Units of the FFN that give the model so many weights outside its tables, 2 to 1 as by default.

    Args:
        scenario: of the table.
        train: the training part's table.
        parameters: wanted, within what one unit makes.
    """
    settings = {**DEFAULT_SETTINGS, "units": [2, 1]}
    model = _Feed(scenario.features, settings, train, _Scaling(train)).din(seed=0)
    shapes = {weight.name: weight.shape for weight in model.trainable_weights}
    inputs = max(shape[0] for name, shape in shapes.items() if "kernel" in name and shape[-1] == 2)
    outside = sum(int(np.prod(shape)) for name, shape in shapes.items() if "_emb_" not in name)
    others = outside - _ffn(inputs, 1)
    unit = next(unit for unit in count(1) if others + _ffn(inputs, unit) >= parameters)
    return [2 * unit, unit]


def _ffn(inputs: int, unit: int) -> int:
    """Weights of an FFN with `2 * unit` and `unit` units, and of the score on top."""
    return (inputs + 1) * 2 * unit + (2 * unit + 1) * unit + unit


class _BestWeights(tf.keras.callbacks.Callback):
    """The weights of the look with the best session AUC; `look` counts from 1."""

    def __init__(self, validation: CandidateTable, batches: tf.data.Dataset) -> None:
        super().__init__()
        self.auc, self.look = -np.inf, 0
        self.weights: list[np.ndarray] = []
        self._validation, self._batches = validation, batches

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        self.weights = self.model.get_weights()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        auc = mean_session_auc(self._validation, _logits(self.model, self._batches))
        if auc > self.auc:
            self.auc, self.look, self.weights = auc, epoch + 1, self.model.get_weights()


class _Scaling:
    """Numbers `[M, D]`: standardised by the training part, 0 where missing, with a 0/1 indicator where any is."""

    def __init__(self, train: CandidateTable) -> None:
        self._names = [name for name in train.names if name not in train.categorical]
        numbers = self._numbers(train)
        self._mean, self._std = np.nanmean(numbers, axis=0), np.nanstd(numbers, axis=0)
        self._std[~(self._std > 0)] = 1.0
        self._mean = np.nan_to_num(self._mean)
        self._optional = np.isnan(numbers).any(axis=0)

    def __call__(self, table: CandidateTable) -> np.ndarray:
        numbers = (self._numbers(table) - self._mean) / self._std
        missing = np.isnan(numbers)
        return np.concatenate([np.where(missing, 0, numbers), missing[:, self._optional]], axis=1).astype(np.float32)

    def _numbers(self, table: CandidateTable) -> np.ndarray:
        return table.columns[:, [table.names.index(name) for name in self._names]]


class _Feed:
    """The inputs of DIN, by name. Every id is a row of its table plus 1, since 0 masks a position."""

    def __init__(
        self, features: Features, settings: Mapping[str, Any], train: CandidateTable, scaling: _Scaling
    ) -> None:
        self._features, self._settings, self._scaling = features, settings, scaling
        self._rows = train.table_rows
        targets = (*features.candidate_features, *features.query_features, *features.user_features)
        self._ids = {f.name: str(f.table) for f in targets if isinstance(f.declaration, Categorical)}
        self._lists = {f.name: str(f.table) for f in targets if isinstance(f.declaration, MultiCategorical)}
        self._widths = {name: train.lists[name].shape[1] for name in self._lists}
        self._history = {
            f"hist_candidate_{f.field}": str(f.table)
            for f in features.behavior_features
            if f"candidate_{f.field}" in self._ids
        }
        self._dense = scaling(train).shape[1]
        self._unknown = 2 if features.tables[self._ids["candidate_item_id"]].hash_buckets is None else 1

    def din(self, seed: int) -> tf.keras.Model:
        """A fresh model of these inputs."""
        feature_column, din = deepctr_library()
        settings = self._settings

        def sparse(name: str, table: str) -> Any:
            # DeepCTR's own initializer has a seed that never changes.
            initializer = tf.keras.initializers.RandomNormal(stddev=1e-4, seed=seed)
            return feature_column.SparseFeat(
                name,
                self._rows[table] + 1,
                settings["embedding"],
                embedding_name=table,
                embeddings_initializer=initializer,
            )

        columns = [
            *(sparse(name, table) for name, table in self._ids.items()),
            *(
                feature_column.VarLenSparseFeat(sparse(name, table), self._widths[name])
                for name, table in self._lists.items()
            ),
            *(
                feature_column.VarLenSparseFeat(sparse(name, table), settings["behaviors"])
                for name, table in self._history.items()
            ),
            feature_column.DenseFeat("numbers", self._dense),
        ]
        return din(
            columns,
            [name.removeprefix("hist_") for name in self._history],
            dnn_hidden_units=tuple(settings["units"]),
            att_hidden_size=tuple(settings["attention"]),
            att_activation=settings["attention_activation"],
            l2_reg_embedding=settings["embedding_l2"],
            dnn_dropout=settings["dropout"],
            seed=seed,
        )

    def batches(self, table: CandidateTable, seed: int | None = None) -> tf.data.Dataset:
        """Batches of inputs and labels: in order, or with a seed forever, each epoch in an order of its own."""
        # Histories and the query's lists stay one a session in memory; a batch gathers its rows of them.
        of_rows = {name: table.column(name).astype(np.int32) + 1 for name in self._ids}
        of_rows["numbers"] = self._scaling(table)
        of_sessions: dict[str, np.ndarray] = {}
        for name in self._lists:
            shifted = _shifted(table.lists[name], self._widths[name])
            (of_rows if name.startswith("candidate_") else of_sessions)[name] = shifted
        for name in self._history:
            field = name.removeprefix("hist_candidate_")
            width = self._settings["behaviors"]
            shifted = _shifted(table.lists[f"behavior_{field}"], width)
            # A behaviour whose brand is missing is a behaviour all the same.
            real = np.arange(width) < np.minimum(table.behavior_counts, width)[:, np.newaxis]
            of_sessions[name] = np.where(real, np.maximum(shifted, 1), 0)
        rows = {name: tf.constant(values) for name, values in of_rows.items()}
        sessions = {name: tf.constant(values) for name, values in of_sessions.items()}
        session_of, labels = tf.constant(table.sessions), tf.constant(table.labels, tf.float32)
        dropout = self._settings["id_dropout"] if seed is not None else 0.0

        def gather(index: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
            inputs = {name: tf.gather(values, index) for name, values in rows.items()}
            session = tf.gather(session_of, index)
            inputs |= {name: tf.gather(values, session) for name, values in sessions.items()}
            if dropout:
                for name in ("candidate_item_id", "hist_candidate_item_id"):
                    ids = inputs[name]
                    hidden = (tf.random.uniform(tf.shape(ids)) < dropout) & (ids != 0)
                    # DeepCTR needs to know how long a history is.
                    inputs[name] = tf.ensure_shape(tf.where(hidden, self._unknown, ids), ids.shape)
            return inputs, tf.gather(labels, index)

        indices = tf.data.Dataset.range(len(table.labels))
        if seed is None:
            return indices.batch(_SCORED_AT_ONCE).map(gather).prefetch(2)
        shuffled = indices.shuffle(len(table.labels), seed).repeat()
        return shuffled.batch(self._settings["batch_size"]).map(gather).prefetch(2)


def _shifted(lists: np.ndarray, width: int) -> np.ndarray:
    """Lists cut or padded to `width`, ids from 1, padding 0."""
    fitting = np.zeros((len(lists), width), np.int32)
    kept = lists[:, :width]
    fitting[:, : kept.shape[1]] = np.where(kept != 0, kept + 1, 0)
    return fitting


def _logits(model: tf.keras.Model, batches: tf.data.Dataset) -> np.ndarray:
    """Float64 `[M]`; probabilities that float32 rounds to 0 or 1 stay finite."""
    probabilities = model.predict(batches, verbose=0)[:, 0].astype(np.float64)
    probabilities = np.clip(probabilities, 1e-12, 1 - 1e-12)
    return np.log(probabilities) - np.log1p(-probabilities)
