"""AW-MoE: attention weighted mixture of experts for ranking."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import tensorflow as tf
import tensorflow_recommenders as tfrs

from model.contrastive import Contrastive
from model.cross_features import CrossFeatures
from model.embedding import Embedding
from model.experts import Experts
from model.gate_network import GateNetwork
from model.input_network import InputNetwork
from model.session_auc import SessionAUC
from model.start_behavior import StartBehavior
from pipeline.config import Scenario

Encoded = Mapping[str, tf.Tensor]


class Session(NamedTuple):
    """What the gate sees: behaviours `[B, T+1, E]`, their mask `[B, T+1]`, the query `[B, E]` or None."""

    behaviors: tf.Tensor
    mask: tf.Tensor
    query: tf.Tensor | None


class AWMoE(tfrs.Model):
    """The whole model; it takes what `Preprocessing` gives.

        p = sigmoid(sum_k g_k s_k)                  eq. 9
        L = L_rank + weight L_cl                    eq. 11

    The gate `g` depends on behaviours and query alone and is computed once a session.
    (`gate.context: target_item` puts the candidate in the query's place: a gate a candidate.)

    Args:
        scenario: its `features` and `model` sections.
        table_rows: rows of each embedding table, as `Preprocessing.table_rows`.
    """

    def __init__(self, scenario: Scenario, table_rows: Mapping[str, int]) -> None:
        super().__init__(name="aw_moe")
        self._features, self._options = scenario.features, scenario.model
        model = scenario.model
        self.embedding = Embedding(
            scenario.features, table_rows, model.embedding_dimension, id_dropout=model.id_dropout
        )
        self.start_behavior = StartBehavior()
        self.cross_features = CrossFeatures(scenario.features)
        self.input_network = InputNetwork(model)
        self.gate_network = GateNetwork(model)
        self.experts = Experts(model.experts.count, model.experts.layers)
        self.contrastive = Contrastive(model.contrastive)
        self.ranking = tfrs.tasks.Ranking(
            tf.keras.losses.BinaryCrossentropy(from_logits=True, reduction=tf.keras.losses.Reduction.SUM)
        )
        self.total_loss = tf.keras.metrics.Mean("loss")
        self.ranking_loss = tf.keras.metrics.Mean("ranking_loss")
        self.contrastive_loss = tf.keras.metrics.Mean("contrastive_loss")
        self.session_auc = SessionAUC()

    def call(self, encoded: Encoded, training: bool = False) -> tf.Tensor:
        """Logits `[B, N]`."""
        session, candidates = self._session(encoded, training), self._candidates(encoded, training)
        gate = self.gate_network(session.behaviors, session.mask, self._context(session, candidates))
        return self._logits(encoded, session, candidates, gate, training)

    def session_gate(self, encoded: Encoded) -> tf.Tensor:
        """The gate `[B, K]`, from behaviours and query alone; `[B, N, K]` with context `target_item`."""
        session = self._session(encoded)
        candidates = self._candidates(encoded) if self._options.gate.context == "target_item" else None
        return self.gate_network(session.behaviors, session.mask, self._context(session, candidates))

    def score_items(self, encoded: Encoded, gate: tf.Tensor) -> tf.Tensor:
        """Logits `[B, N]` of the candidates, with a gate that `session_gate` gave."""
        return self._logits(encoded, self._session(encoded), self._candidates(encoded), gate)

    def compute_loss(self, encoded: Encoded, training: bool = False) -> tf.Tensor:
        """Eq. 11 and the L2 penalty; `encoded` is a batch of `session_dataset`."""
        session, candidates = self._session(encoded, training), self._candidates(encoded, training)
        contributions = self.gate_network.contributions(session.behaviors, self._context(session, candidates))
        gate = self.gate_network.reduce(contributions, session.mask)
        logits = self._logits(encoded, session, candidates, gate, training)

        labels, real = encoded["candidate_label"], self._real(encoded, "candidate")
        loss = self._ranking_loss(labels, logits, real)
        self.ranking_loss.update_state(loss)
        self.session_auc.update_state(labels, logits, real)
        if self._options.contrastive.weight:
            positive = self.gate_network.reduce(contributions, self.contrastive.leave_out(session.mask))
            contrastive = self._contrastive_loss(gate, positive, encoded["user_fingerprint"], real)
            self.contrastive_loss.update_state(contrastive)
            loss += self._options.contrastive.weight * contrastive
        if self._options.embedding_l2:
            masks = {group: self._real(encoded, group) for group in ("behavior", "candidate")}
            loss += self._options.embedding_l2 * self.embedding.looked_up_norm(encoded, masks)
        self.total_loss.update_state(loss)
        return loss

    def train_step(self, encoded: Encoded) -> dict[str, tf.Tensor]:
        """One step of `fit`; gives means over the epoch, where `tfrs.Model` adds the last batch's losses."""
        super().train_step(encoded)
        return {metric.name: metric.result() for metric in self.metrics}

    def test_step(self, encoded: Encoded) -> dict[str, tf.Tensor]:
        """One step of `evaluate`, likewise."""
        super().test_step(encoded)
        return {metric.name: metric.result() for metric in self.metrics}

    def _session(self, encoded: Encoded, training: bool = False) -> Session:
        behaviors = self.embedding(encoded, self._features.behavior_features, training=training)
        behaviors, mask = self.start_behavior(behaviors, encoded["behavior_count"])
        query = self._features.query_features
        return Session(behaviors, mask, self.embedding(encoded, query, training=training) if query else None)

    def _candidates(self, encoded: Encoded, training: bool = False) -> tf.Tensor:
        """Candidates with their cross features, `[B, N, E]`."""
        candidates = self.embedding(encoded, self._features.candidate_features, training=training)
        if not self._features.cross:
            return candidates
        return tf.concat([candidates, self.cross_features(encoded, self._real(encoded, "behavior"))], axis=-1)

    def _context(self, session: Session, candidates: tf.Tensor | None) -> tf.Tensor:
        return session.query if self._options.gate.context == "query" else candidates

    def _logits(
        self, encoded: Encoded, session: Session, candidates: tf.Tensor, gate: tf.Tensor, training: bool = False
    ) -> tf.Tensor:
        features = self._features.user_features
        user = self.embedding(encoded, features, training=training) if features else None
        scores = self.experts(self.input_network(session.behaviors, session.mask, candidates, session.query, user))
        if gate.shape.rank == 2:
            gate = gate[:, tf.newaxis]
        return tf.reduce_sum(gate * scores, axis=-1)

    def _ranking_loss(self, labels: tf.Tensor, logits: tf.Tensor, real: tf.Tensor) -> tf.Tensor:
        """Eq. 1: the mean over real candidates. The last axis is added since Keras averages over it."""
        weights = tf.cast(real, logits.dtype)
        total = self.ranking(
            labels[..., tf.newaxis], logits[..., tf.newaxis], sample_weight=weights, compute_metrics=False
        )
        return tf.math.divide_no_nan(total, tf.reduce_sum(weights))

    def _contrastive_loss(self, gate: tf.Tensor, positive: tf.Tensor, users: tf.Tensor, real: tf.Tensor) -> tf.Tensor:
        if gate.shape.rank == 3:  # a gate a candidate
            users = tf.boolean_mask(tf.broadcast_to(users[:, tf.newaxis], tf.shape(real)), real)
            gate, positive = tf.boolean_mask(gate, real), tf.boolean_mask(positive, real)
        return self.contrastive(gate, positive, users)

    def _real(self, encoded: Encoded, group: str) -> tf.Tensor:
        """Which of the group's positions are real: `behavior` `[B, T]`, `candidate` `[B, N]`."""
        return tf.sequence_mask(encoded[f"{group}_count"], tf.shape(encoded[f"{group}_item_id"])[1])
