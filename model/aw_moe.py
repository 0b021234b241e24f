"""AW-MoE: attention weighted mixture of experts for ranking."""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

from model.augmentation import Augmentation
from model.contrastive import Contrastive
from model.gate_network import GateNetwork
from model.ranker import Encoded, Gate, Losses, Ranker, Session
from model.top_k_gate import TopKGate
from pipeline.config import Scenario


class AWMoE(Ranker):
    """The experts' weights come from the user's behaviours and the query, once a session.

        g = sum_j a'(h'_bj, h'_q) GU(h'_bj, h'_q)   eq. 6 to 8
        p = sigmoid(sum_k g_k s_k)                  eq. 9
        L = L_rank + weight L_cl                    eq. 11, with `model.name: aw_moe_cl`

    (`gate.context: target_item` puts the candidate in the query's place: a gate a candidate.)

    Args:
        scenario: its `features`, `model` and `training` sections.
        table_rows: rows of each embedding table, as `Preprocessing.table_rows`.
    """

    def __init__(self, scenario: Scenario, table_rows: Mapping[str, int]) -> None:
        options = scenario.model
        self._contrasts = bool(options.contrastive.weight) and options.name == "aw_moe_cl"
        super().__init__(scenario, table_rows, gate_losses=["contrastive_loss"] if self._contrasts else [])
        self.gate_network = GateNetwork(options)
        self.top_k_gate = TopKGate(options.experts, self.random_numbers)
        self.augmentation = Augmentation(options.contrastive, self.random_numbers)
        self.contrastive = Contrastive(options.contrastive, self.random_numbers)

    def _gate(self, encoded: Encoded, session: Session, candidates: tf.Tensor | None, training: bool) -> Gate:
        context = session.query if self._options.gate.context == "query" else candidates
        contributions = self.gate_network.contributions(session.behaviors, context)
        gate = self.gate_network.reduce(contributions, session.mask)

        def losses() -> Losses:
            if not self._contrasts:
                return {}
            positive = self._other_view(encoded, session, contributions, context, training)
            weight = self._options.contrastive.weight
            return {"contrastive_loss": (weight, self._contrastive_loss(encoded, gate, positive))}

        return Gate(self.top_k_gate(gate, training=training), losses)

    def _other_view(
        self, encoded: Encoded, session: Session, contributions: tf.Tensor, context: tf.Tensor, training: bool
    ) -> tf.Tensor:
        """The gate of the same session with its behaviours changed: `g+` of eq. 10."""
        drawn = self.augmentation.draw(tf.shape(session.mask)[0])
        if self.augmentation.reorders:
            reordered = self._session(self.augmentation.reorder(encoded, drawn), training)
            contributions = self.gate_network.contributions(reordered.behaviors, context)
        return self.gate_network.reduce(contributions, self.augmentation.leave_out(session.mask, drawn))

    def _contrastive_loss(self, encoded: Encoded, gate: tf.Tensor, positive: tf.Tensor) -> tf.Tensor:
        users = encoded["user_fingerprint"]
        if gate.shape.rank == 3:  # a gate a candidate
            real = self._real(encoded, "candidate")
            users = tf.boolean_mask(tf.broadcast_to(users[:, tf.newaxis], tf.shape(real)), real)
            gate, positive = tf.boolean_mask(gate, real), tf.boolean_mask(positive, real)
        return self.contrastive(gate, positive, users)
