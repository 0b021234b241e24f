"""The ranking losses: eq. 1 and two that look at a session's candidates together."""

from __future__ import annotations

import tensorflow as tf

from model.global_mean import global_mean


def ranking_loss(
    name: str, labels: tf.Tensor, logits: tf.Tensor, real: tf.Tensor, weights: tf.Tensor | None = None
) -> tf.Tensor:
    """The loss of a batch, a scalar; its means are those of the global batch, `model/global_mean.py`.

    - `pointwise`: mean over real candidates of `-[y log p + (1 - y) log(1 - p)]`, eq. 1. Only
      this one makes `p` a probability.
    - `listwise`: softmax cross-entropy over a session's candidates,
      `-sum_i (y_i / sum y) log softmax(s)_i`; mean over the sessions with a positive.
    - `pairwise`: `log(1 + exp(s_j - s_i))`, mean over a session's pairs of a positive `i` and a
      negative `j`; mean over the sessions with both.

    A session without the labels that a loss needs adds nothing to it.

    With weights `w`, pointwise has a term `w_i` times, listwise `w_i y_i / sum y` in place of `y_i / sum y`, and
    pairwise a pair `w_i` times, `i` its positive. What is divided by stays the number of candidates, positives,
    pairs and sessions, not the sum of weights: so Keras and the literature on propensities do, and a click of weight
    2 is two clicks, whatever else the batch holds.

    Args:
        name: one of the above.
        labels: 0 or 1, `[B, N]`.
        logits: `[B, N]`.
        real: which candidates are real, `[B, N]`.
        weights: of the candidates, `[B, N]`; default: all weigh 1.
    """
    # Padding may hold anything, and NaN or infinity times 0 would be NaN.
    labels, logits = tf.where(real, labels, 0.0), tf.where(real, logits, 0.0)
    if weights is not None:
        weights = tf.where(real, weights, 0.0)
    return _LOSSES[name](labels, logits, real, weights)


def _pointwise(labels: tf.Tensor, logits: tf.Tensor, real: tf.Tensor, weights: tf.Tensor | None) -> tf.Tensor:
    losses = _weighed(tf.nn.sigmoid_cross_entropy_with_logits(labels, logits), weights)
    return global_mean(losses, tf.cast(real, logits.dtype))


def _listwise(labels: tf.Tensor, logits: tf.Tensor, real: tf.Tensor, weights: tf.Tensor | None) -> tf.Tensor:
    positives = tf.reduce_sum(labels, axis=-1)
    # The lowest finite number, not -inf, whose product with a label of 0 would be NaN.
    log_softmax = tf.nn.log_softmax(tf.where(real, logits, logits.dtype.min), axis=-1)
    terms = _weighed(labels * tf.where(real, log_softmax, 0.0), weights)
    losses = -tf.math.divide_no_nan(tf.reduce_sum(terms, axis=-1), positives)
    return global_mean(losses, tf.cast(positives > 0, logits.dtype))


def _pairwise(labels: tf.Tensor, logits: tf.Tensor, real: tf.Tensor, weights: tf.Tensor | None) -> tf.Tensor:
    positive = tf.cast(real & (labels > 0.5), logits.dtype)
    negative = tf.cast(real & (labels <= 0.5), logits.dtype)
    pairs = positive[:, :, tf.newaxis] * negative[:, tf.newaxis, :]
    losses = tf.nn.softplus(logits[:, tf.newaxis, :] - logits[:, :, tf.newaxis])
    losses = _weighed(losses, None if weights is None else weights[:, :, tf.newaxis])
    count = tf.reduce_sum(pairs, axis=[1, 2])
    means = tf.math.divide_no_nan(tf.reduce_sum(losses * pairs, axis=[1, 2]), count)
    return global_mean(means, tf.cast(count > 0, logits.dtype))


def _weighed(values: tf.Tensor, weights: tf.Tensor | None) -> tf.Tensor:
    return values if weights is None else values * weights


_LOSSES = {"pointwise": _pointwise, "listwise": _listwise, "pairwise": _pairwise}
