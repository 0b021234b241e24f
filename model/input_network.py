"""The input network: what the experts see, eq. 2 to 4."""

from __future__ import annotations

import tensorflow as tf

from model.activation_unit import ActivationUnit
from model.mlp import MLP
from pipeline import config


class InputNetwork(tf.keras.layers.Layer):
    """Embedded inputs to the experts' input `v = [v_u ; h_t ; h_q ; h_o]`.

        h_x = MLP_x(x)                              eq. 2
        v_u(t) = sum_j a(h_bj, h_t) h_bj            eq. 3, no softmax; divided by the number of
                                                    behaviours, the start behaviour among them, with pooling `mean`

    `v` is given in two parts, since `h_q` and `h_o` are the same for a session's candidates.

    Args:
        model: the sizes.
        attention: without it `a` is 1.
    """

    def __init__(self, model: config.Model, *, attention: bool = True) -> None:
        super().__init__(name="input_network")
        self.behavior_mlp = MLP(model.hidden_layers, "behavior_mlp")
        self.candidate_mlp = MLP(model.hidden_layers, "candidate_mlp")
        self.query_mlp = MLP(model.hidden_layers, "query_mlp")
        self.user_mlp = MLP(model.hidden_layers, "user_mlp")
        self._pooling = model.pooling
        self.activation_unit: ActivationUnit | None = None
        if attention:
            # Begins as the plain sum of behaviours; random weights would begin with random signs (docs/models.md).
            self.activation_unit = ActivationUnit(model.activation_layers, 1, name="activation_unit", start=1.0)

    def call(
        self,
        behaviors: tf.Tensor,
        mask: tf.Tensor,
        candidates: tf.Tensor,
        query: tf.Tensor | None,
        user: tf.Tensor | None,
    ) -> tuple[tf.Tensor, tf.Tensor | None]:
        """Both parts of `v`.

        Args:
            behaviors: `[B, T, E]`, with the start behaviour.
            mask: `[B, T]`, 1 where a behaviour is real.
            candidates: `[B, N, E]`.
            query: `[B, E]`, or None in a scenario without.
            user: other session features `[B, E]`, or None.

        Returns:
            `[v_u ; h_t]` `[B, N, 2D]`, and `[h_q ; h_o]` `[B, 2D]`; or what there is of it, or None.
        """
        behaviors, candidates = self.behavior_mlp(behaviors), self.candidate_mlp(candidates)
        if self.activation_unit:
            weights = tf.squeeze(self.activation_unit(behaviors, candidates), axis=-1) * tf.expand_dims(mask, -1)
            interest = tf.matmul(tf.cast(weights, behaviors.dtype), behaviors, transpose_a=True)
        else:
            pooled = tf.matmul(tf.cast(tf.expand_dims(mask, 1), behaviors.dtype), behaviors)
            interest = tf.broadcast_to(pooled, tf.concat([tf.shape(candidates)[:2], pooled.shape[-1:]], axis=0))
        if self._pooling == "mean":
            behavior_count = tf.maximum(tf.reduce_sum(mask, axis=-1), 1)[:, tf.newaxis, tf.newaxis]
            interest /= tf.cast(behavior_count, interest.dtype)
        session = [h for h in (_optional(self.query_mlp, query), _optional(self.user_mlp, user)) if h is not None]
        return tf.concat([interest, candidates], axis=-1), tf.concat(session, axis=-1) if session else None


def _optional(network: MLP, inputs: tf.Tensor | None) -> tf.Tensor | None:
    return None if inputs is None else network(inputs)
