"""AdamW whose update of a weight is one operation."""

from __future__ import annotations

import tensorflow as tf


class FusedAdamW(tf.keras.optimizers.AdamW):
    """Keras's AdamW by TensorFlow's kernel for Adam: the same numbers in one operation a weight, not a dozen.

    A step of small batches is bound by how many operations it has.

    Reference: Loshchilov & Hutter, Decoupled Weight Decay Regularization, ICLR 2019.
    """

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable) -> None:
        """Updates a dense weight by a dense gradient."""
        key = self._index_dict[self._var_key(variable)]
        momentum, velocity = self._momentums[key], self._velocities[key]
        step = tf.cast(self.iterations + 1, variable.dtype)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=momentum.handle,
            v=velocity.handle,
            beta1_power=tf.pow(self.beta_1, step),
            beta2_power=tf.pow(self.beta_2, step),
            lr=tf.cast(self.learning_rate, variable.dtype),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=gradient,
        )
