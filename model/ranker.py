"""What the five models share: features in, one logit a candidate out, and the training step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import tensorflow as tf
import tensorflow_recommenders as tfrs

from model.adversarial_loss import adversarial_loss, draw_disagreeing
from model.cross_features import CrossFeatures
from model.embedding import Embedding
from model.expert_load import ExpertLoad
from model.experts import Experts
from model.gate_entropy import GateEntropy
from model.input_network import InputNetwork
from model.load_balance_loss import load_balance_loss
from model.random_numbers import RandomNumbers
from model.ranking_loss import ranking_loss
from model.session_auc import SessionAUC
from model.start_behavior import StartBehavior
from model.top_k_gate import SparseGate
from pipeline.config import Scenario

Encoded = Mapping[str, tf.Tensor]
#: Terms of the loss beside the ranking loss, by their names in the metrics: weight and value.
Losses = dict[str, tuple[float, tf.Tensor]]


class Session(NamedTuple):
    """What the gate sees: behaviours `[B, T+1, E]`, their mask `[B, T+1]`, the query `[B, E]` or None."""

    behaviors: tf.Tensor
    mask: tf.Tensor
    query: tf.Tensor | None


class Gate(NamedTuple):
    """The experts' weights, `[B, K]` or a gate a candidate `[B, N, K]`, and what makes the losses on them."""

    sparse: SparseGate
    losses: Callable[[], Losses] = dict

    @property
    def weights(self) -> tf.Tensor:
        """0 where an expert is not chosen."""
        return self.sparse.weights


class Ranker(tfrs.Model):
    """Experts over one input network, weighed by a gate; it takes what `Preprocessing` gives.

        p = sigmoid(sum_k g_k s_k)                  eq. 9

    Here there is one expert and its weight is 1, as DNN and DIN have it; a mixture of experts
    has a gate of its own.

    Args:
        scenario: its `features`, `model` and `training` sections.
        table_rows: rows of each embedding table, as `Preprocessing.table_rows`.
        attention: whether the input network weighs behaviours by the candidate (eq. 3).
        gate_losses: names of the losses that the gate makes.

    Attributes:
        random_numbers: all that is drawn in training.
    """

    def __init__(
        self,
        scenario: Scenario,
        table_rows: Mapping[str, int],
        *,
        attention: bool = True,
        gate_losses: Sequence[str] = (),
    ) -> None:
        super().__init__(name=scenario.model.name)
        self._features, self._options, self._loss = scenario.features, scenario.model, scenario.training.loss
        self._scores_are_probabilities = scenario.training.scores_are_probabilities
        self._mixed_precision = scenario.training.precision == "mixed_bfloat16"
        model = scenario.model
        self.random_numbers = RandomNumbers(scenario.training.seed)
        self.embedding = Embedding(
            scenario.features,
            table_rows,
            model.embedding_dimension,
            self.random_numbers,
            id_dropout=model.id_dropout,
        )
        self.start_behavior = StartBehavior()
        self.cross_features = CrossFeatures(scenario.features)
        self.input_network = InputNetwork(model, attention=attention)
        self.experts = Experts(model.expert_count, model.experts.layers)
        of_experts = {"load_balance_loss": model.experts.load_balance, "adversarial_loss": model.experts.adversarial}
        names = ("loss", "ranking_loss", *gate_losses, *(name for name, weight in of_experts.items() if weight))
        self.loss_means = {name: tf.keras.metrics.Mean(name) for name in names}
        self.session_auc = SessionAUC()
        # Of gates without noise: of the validation part.
        self.gate_entropy = GateEntropy()
        self.expert_load = ExpertLoad(model.expert_count, sparse=model.experts.top_k is not None)

    def call(self, encoded: Encoded, training: bool = False) -> tf.Tensor:
        """Logits `[B, N]`."""
        session, candidates = self._session(encoded, training), self._candidates(encoded, training)
        gate = self._gate(encoded, session, candidates, training).weights
        return self._weigh(gate, self._expert_scores(encoded, session, candidates, gate, training))

    def scores(self, logits: tf.Tensor) -> tf.Tensor:
        """What a model answers for logits: `p` of eq. 9 with the pointwise loss, the logits themselves with another."""
        return tf.sigmoid(logits) if self._scores_are_probabilities else logits

    def session_gate(self, encoded: Encoded) -> tf.Tensor:
        """The gate `[B, K]`, from behaviours and query alone; `[B, N, K]` where it looks at candidates."""
        candidates = self._candidates(encoded) if self._options.gate_per_candidate else None
        return self._gate(encoded, self._session(encoded), candidates, training=False).weights

    def score_items(self, encoded: Encoded, gate: tf.Tensor) -> tf.Tensor:
        """Logits `[B, N]` of the candidates, with a gate that `session_gate` gave."""
        return self._weigh(gate, self.expert_scores(encoded, gate))

    @contextmanager
    def scoring_form(self, dtype: tf.DType = tf.float32) -> Iterator[None]:
        """Inside, the model is traced in the form that scores fastest, for what is exported.

        The activation unit of eq. 3 goes session by session, and its layers and the experts' are computed in
        `dtype`; their inputs, weights and outputs stay float32, and so does the gate network. A function
        that was traced before stays as it is.
        """
        unit = self.input_network.activation_unit
        layers = [layer for layer in (self.experts, unit) if layer is not None]
        try:
            if unit is not None:
                unit.by_session = True
            with _computed_in(dtype, layers):
                yield
        finally:
            if unit is not None:
                unit.by_session = False

    def expert_scores(self, encoded: Encoded, gate: tf.Tensor) -> tf.Tensor:
        """The experts' scores `[B, N, K]`, eq. 5; of a sparse gate 0 for experts that were not computed."""
        return self._expert_scores(encoded, self._session(encoded), self._candidates(encoded), gate)

    def compute_loss(self, encoded: Encoded, training: bool = False) -> tf.Tensor:
        """The ranking loss (eq. 1), those on gate and experts (eq. 11), and the L2 penalty.

        Of several replicas each gives its part, and the parts add up to the loss of the global batch.
        `encoded` is a batch of `session_dataset`.
        """
        session, candidates = self._session(encoded, training), self._candidates(encoded, training)
        gate = self._gate(encoded, session, candidates, training)
        experts, drawn = self._options.experts, None
        if experts.adversarial:
            drawn = draw_disagreeing(gate.weights, experts.disagreeing, self.random_numbers)
        scores = self._expert_scores(encoded, session, candidates, gate.weights, training, idle=drawn)
        logits = self._weigh(gate.weights, scores)

        labels, real = encoded["candidate_label"], self._real(encoded, "candidate")
        self.session_auc.update_state(labels, logits, real)
        if not training:
            gates = tf.boolean_mask(gate.weights, real) if gate.weights.shape.rank == 3 else gate.weights
            self.gate_entropy.update_state(gates)
            self.expert_load.update_state(gates)
        ranking = ranking_loss(self._loss, labels, logits, real, encoded.get("candidate_label/weight"))
        losses = {"ranking_loss": (1.0, ranking), **gate.losses()}
        if experts.load_balance:
            losses["load_balance_loss"] = experts.load_balance, load_balance_loss(gate.sparse, real)
        if drawn is not None:
            losses["adversarial_loss"] = experts.adversarial, adversarial_loss(scores, gate.weights, drawn, real)
        total = tf.add_n([weight * value for weight, value in losses.values()])
        if self._options.embedding_l2:
            masks = {group: self._real(encoded, group) for group in ("behavior", "candidate")}
            total += self._options.embedding_l2 * self.embedding.looked_up_norm(encoded, masks)
        for name, value in {"loss": total, **{name: value for name, (_, value) in losses.items()}}.items():
            self._add_to_mean(name, value)
        return total

    def train_step(self, encoded: Encoded) -> dict[str, tf.Tensor]:
        """One step of `fit`; gives means over the epoch, where `tfrs.Model` adds the last batch's losses.

        With mixed precision all layers are computed in bfloat16, weights, losses and gates in float32; what
        validates, scores or is exported is float32.
        """
        layers = [layer for layer in self._flatten_layers() if hasattr(layer, "product_dtype")]
        with _computed_in(tf.bfloat16 if self._mixed_precision else tf.float32, layers):
            super().train_step(encoded)
        return {metric.name: metric.result() for metric in (*self.loss_means.values(), self.session_auc)}

    def test_step(self, encoded: Encoded) -> dict[str, tf.Tensor]:
        """One step of `evaluate`, likewise."""
        super().test_step(encoded)
        means = [*self.loss_means.values(), self.session_auc]
        if self._options.expert_count > 1:
            means.append(self.gate_entropy)
        return {metric.name: metric.result() for metric in means}

    def _add_to_mean(self, name: str, value: tf.Tensor) -> None:
        """Adds a batch's loss, or a replica's part of it: the parts add up to it, and count as one."""
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        self.loss_means[name].update_state(replicas * value, sample_weight=1 / replicas)

    def _gate(self, encoded: Encoded, session: Session, candidates: tf.Tensor | None, training: bool) -> Gate:
        """The weights of the experts; `candidates` `[B, N, E]` are None when a gate a session is asked for."""
        return Gate(SparseGate(tf.ones([tf.shape(session.mask)[0], 1]), chance=None))

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

    def _expert_scores(
        self,
        encoded: Encoded,
        session: Session,
        candidates: tf.Tensor,
        gate: tf.Tensor,
        training: bool = False,
        idle: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Eq. 2 to 5, `[B, N, K]`.

        Of a sparse gate that uses at most half of the experts, the scores of those alone, and of `idle` ones where
        they are given; the others' are 0.
        """
        features = self._features.user_features
        user = self.embedding(encoded, features, training=training) if features else None
        inputs = self.input_network(session.behaviors, session.mask, candidates, session.query, user)
        top_k = self._options.experts.top_k
        # Gathering sessions by expert, and the places that stay empty, cost more than is saved when most are chosen.
        if top_k is None or 2 * top_k > self._options.experts.count or gate.shape.rank == 3:
            return self.experts(inputs)
        # A sparse gate is 0 but for k experts: its largest entries tell which.
        chosen = tf.math.top_k(tf.abs(gate), top_k, sorted=False).indices
        if idle is not None:
            chosen = tf.concat([chosen, idle], axis=-1)
        return self.experts(inputs, chosen, training=training)

    def _weigh(self, gate: tf.Tensor, scores: tf.Tensor) -> tf.Tensor:
        """Eq. 9 before the sigmoid, `[B, N]`."""
        return tf.reduce_sum((tf.expand_dims(gate, 1) if gate.shape.rank == 2 else gate) * scores, axis=-1)

    def _real(self, encoded: Encoded, group: str) -> tf.Tensor:
        """Which of the group's positions are real: `behavior` `[B, T]`, `candidate` `[B, N]`."""
        return tf.sequence_mask(encoded[f"{group}_count"], tf.shape(encoded[f"{group}_item_id"])[1])


@contextmanager
def _computed_in(dtype: tf.DType, layers: Sequence[tf.keras.layers.Layer]) -> Iterator[None]:
    """Inside, what is traced computes the layers in `dtype`; they are float32 otherwise."""
    try:
        for layer in layers:
            layer.product_dtype = dtype
        yield
    finally:
        for layer in layers:
            layer.product_dtype = tf.float32
