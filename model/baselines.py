"""What AW-MoE is compared with: DNN, DIN and Category-MoE, of the same parts and features."""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

from model.category_gate import CategoryGate
from model.global_mean import global_mean
from model.ranker import Encoded, Gate, Losses, Ranker, Session
from model.top_k_gate import TopKGate
from pipeline.config import Scenario


class DNN(Ranker):
    """Behaviours sum-pooled, one FFN; arguments as of `Ranker`."""

    def __init__(self, scenario: Scenario, table_rows: Mapping[str, int]) -> None:
        super().__init__(scenario, table_rows, attention=False)


class DIN(Ranker):
    """Behaviours weighed by the candidate (eq. 3), one FFN; arguments as of `Ranker`.

    Reference: Zhou et al., Deep Interest Network, KDD 2018.
    """


class CategoryMoE(Ranker):
    """DIN with K experts, weighed by the query's category; arguments as of `Ranker`.

    Reference: Xiao et al., Adversarial Mixture of Experts with Category Hierarchy Soft
    Constraint, ICDE 2021.
    """

    def __init__(self, scenario: Scenario, table_rows: Mapping[str, int]) -> None:
        options = scenario.model
        super().__init__(scenario, table_rows, gate_losses=["hierarchy_loss"] if options.category_gate.parent else [])
        of_name = {feature.name: feature for feature in scenario.features.encoded}
        self._category = (of_name[options.category_gate.feature],)
        self._parent = (of_name[options.category_gate.parent],) if options.category_gate.parent else None
        experts = options.experts
        self.category_gate = CategoryGate(experts.count, noise=bool(experts.noise))
        self.parent_gate: CategoryGate | None = None
        if self._parent:
            self.parent_gate = CategoryGate(experts.count, name="parent_gate")
            # Its weights are made here, since scoring, which makes all others, has no use for them.
            (parent,) = self._parent
            self.parent_gate(tf.zeros([1, self.embedding.tables[str(parent.table)].shape[-1]]))
        self.top_k_gate = TopKGate(experts, self.random_numbers, normalize=True)

    def _gate(self, encoded: Encoded, session: Session, candidates: tf.Tensor | None, training: bool) -> Gate:
        logits, noise = self.category_gate(self.embedding(encoded, self._category, training=training))
        sparse = self.top_k_gate(logits, noise, training=training)

        def losses() -> Losses:
            if not self.parent_gate:
                return {}
            parent, _ = self.parent_gate(self.embedding(encoded, self._parent, training=training))
            weight = self._options.category_gate.hierarchy_weight
            return {"hierarchy_loss": (weight, self._hierarchy_loss(encoded, sparse.weights, tf.nn.softmax(parent)))}

        return Gate(sparse, losses)

    def _hierarchy_loss(self, encoded: Encoded, child: tf.Tensor, parent: tf.Tensor) -> tf.Tensor:
        """The hierarchical soft constraint: mean of `sum_k (g_parent - g_child)^2` over the chosen experts."""
        squares = tf.where(child > 0, tf.square(parent - child), 0.0)
        distances = tf.reduce_sum(squares, axis=-1)
        if distances.shape.rank == 2:
            distances = tf.boolean_mask(distances, self._real(encoded, "candidate"))
        return global_mean(distances)
