"""Weights of candidates in the ranking loss, by class and by the place where they were shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import tensorflow as tf

from pipeline.config import Training


def candidate_weights(training: Training) -> Callable[[Mapping[str, tf.Tensor]], tf.Tensor] | None:
    """A function from raw sessions to their candidates' weights `[B, N]`; None where all weigh 1.

        w = positive_weight min(position^power, max_weight)     of a positive
        w = 1                                                   of a negative

    A user who did not look at a candidate could not choose it, so a positive far down stands for more of its kind:
    it weighs 1 over the propensity that its place was looked at. A place that is missing, or below 1, weighs as the
    first.

    Reference: Joachims et al., Unbiased Learning-to-Rank with Biased Feedback, WSDM 2017.
    """
    propensity = training.propensity
    if propensity is None and training.positive_weight == 1:
        return None

    def weigh(raw: Mapping[str, tf.Tensor]) -> tf.Tensor:
        labels = raw["candidate_label"]
        weights = tf.fill(tf.shape(labels), training.positive_weight)
        if propensity is not None:
            position = raw[f"candidate_{propensity.feature}"]
            position = tf.where(position >= 1, position, 1.0)  # which NaN is not
            weights *= tf.minimum(position**propensity.power, propensity.max_weight)
        return tf.where(labels > 0.5, weights, 1.0)

    return weigh
