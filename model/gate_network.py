"""The gate network: from behaviours and query to the experts' weights, eq. 6 to 8."""

from __future__ import annotations

import tensorflow as tf

from model.activation_unit import ActivationUnit
from model.joint_units import joint_units
from model.mlp import MLP
from pipeline import config


class GateNetwork(tf.keras.layers.Layer):
    """The gate `g`, `[B, K]`, once a session; with a candidate as context `[B, N, K]`.

        h'_bj, h'_q = MLP'(b_j), MLP'(q)            eq. 6
        u_j = GU(h'_bj, h'_q)                       eq. 7
        g = sum_j a'(h'_bj, h'_q) u_j               eq. 8, form raw
        g = softmax(the same sum)                   form softmax
        g = 1/K + (the same sum) / (behaviours)     form scaled, the start behaviour included;
                                                    1/k where `experts.top_k` is k

    Ablations: without `gate_unit`, `u_j` is linear in `h'_bj`, which is one linear layer on
    the pooled behaviours; without `activation_unit`, `a'` is 1. Without both the context has
    no part and the gate is `[B, K]`.

    It is computed in two steps, so that the contrastive loss can leave out other behaviours
    at the price of another `reduce`.
    """

    def __init__(self, model: config.Model) -> None:
        super().__init__(name="gate_network")
        self._options = model.gate
        self._experts = model.experts.count
        self._used = model.experts.top_k or model.experts.count
        # These forms start near 1/K; the raw one would start near a gate of zeros.
        start = None if model.gate.form == "raw" else 0.0
        layers = model.gate.unit_layers
        self.behavior_mlp = MLP(model.hidden_layers, "behavior_mlp")
        if model.gate.gate_unit or model.gate.activation_unit:
            self.context_mlp = MLP(model.hidden_layers, "context_mlp")
        if model.gate.gate_unit:
            self.gate_unit = ActivationUnit(layers, self._experts, name="gate_unit", start=start)
        else:
            initializer = "glorot_uniform" if start is None else tf.keras.initializers.RandomNormal(stddev=0.01)
            self.linear = tf.keras.layers.Dense(self._experts, use_bias=False, kernel_initializer=initializer)
        if model.gate.activation_unit:
            self.activation_unit = ActivationUnit(layers, 1, name="activation_unit", start=1.0)

    def call(self, behaviors: tf.Tensor, mask: tf.Tensor, context: tf.Tensor) -> tf.Tensor:
        """The gate; arguments as of `contributions` and `reduce`."""
        return self.reduce(self.contributions(behaviors, context), mask)

    def contributions(self, behaviors: tf.Tensor, context: tf.Tensor) -> tf.Tensor:
        """What every behaviour adds to the gate, `a'_j u_j`.

        Args:
            behaviors: `[B, T, E]`, with the start behaviour.
            context: the query `[B, E]`, or the candidates `[B, N, E]`.

        Returns:
            `[B, T, K]`, or `[B, T, N, K]`.
        """
        behaviors = self.behavior_mlp(behaviors)
        if self._options.gate_unit or self._options.activation_unit:
            context = self.context_mlp(context)
        if self._options.gate_unit and self._options.activation_unit and context.shape.rank == 2:
            units, weights = joint_units([self.gate_unit, self.activation_unit], behaviors, context)
            return weights * units
        units = self.gate_unit(behaviors, context) if self._options.gate_unit else self.linear(behaviors)
        if not self._options.activation_unit:
            return units
        weights = self.activation_unit(behaviors, context)
        if units.shape.rank < weights.shape.rank:
            units = units[:, :, tf.newaxis]
        return weights * units

    def reduce(self, contributions: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        """The gate from the behaviours that `mask` `[B, T]` keeps: `[B, K]`, or `[B, N, K]`."""
        kept = tf.expand_dims(mask, -1)
        if contributions.shape.rank == 4:
            kept = tf.expand_dims(kept, -1)
        total = tf.reduce_sum(contributions * kept, axis=1)
        if self._options.form == "raw":
            return total
        if self._options.form == "softmax":
            return tf.nn.softmax(total, axis=-1)
        return 1 / self._used + total / tf.reduce_sum(kept, axis=1)
