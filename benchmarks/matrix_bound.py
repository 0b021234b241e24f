"""The least time that a model's matrix products take, at the rate that this machine reaches now."""

from __future__ import annotations

import time
from statistics import median

import numpy as np
import tensorflow as tf

from model.ranker import Ranker

_SIZE = 2048


def matrix_rate(repeats: int = 7) -> float:
    """Float32 operations a second of a large matrix product on all cores: the most that a model can hope for."""
    left, right = tf.random.normal([_SIZE, _SIZE]), tf.random.normal([_SIZE, _SIZE])
    product = tf.function(tf.matmul)
    product(left, right)
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        product(left, right).numpy()
        seconds.append(time.perf_counter() - started)
    return 2 * _SIZE**3 / median(seconds)


def score_operations(model: Ranker, candidates: int, behaviors: int, top_k: int | None = None) -> int:
    """Multiplications and additions of the matrix products that score one session, eq. 2 to 5.

    Eq. 3's unit counts in its factored form, whose first layer has one product a pair.

    Args:
        model: with attention, built.
        candidates: N.
        behaviors: T; the start behaviour comes on top.
        top_k: experts that a sparse gate computes; default: all.
    """
    network, unit, experts = model.input_network, model.input_network.activation_unit, model.experts
    assert unit is not None, "a model without attention has no pairs"
    keys, pairs = behaviors + 1, candidates * (behaviors + 1)
    of_experts = [experts.candidate_kernel, *experts.upper_kernels]
    times = {
        keys: [*network.behavior_mlp.trainable_weights, unit.key_layer.kernel],
        candidates: [
            *network.candidate_mlp.trainable_weights,
            unit.query_layer.kernel,
        ],
        pairs: [unit.product_layer.kernel, *(layer.kernel for layer in unit.upper_layers)],
        1: [*network.query_mlp.trainable_weights, *network.user_mlp.trainable_weights],
    }
    products = sum(
        count * int(np.prod(weight.shape))
        for count, weights in times.items()
        for weight in weights
        if weight.shape.rank > 1  # a bias is no product
    )
    pooling = pairs * unit.key_layer.kernel.shape[0]
    # kernels of all experts are one variable `[K, ...]`
    of_one = [int(np.prod(kernel.shape[1:])) for kernel in of_experts]
    used = top_k or experts.candidate_kernel.shape[0]
    of_used = used * (candidates * sum(of_one) + int(np.prod(experts.session_kernel.shape[1:])))
    return 2 * (products + pooling + of_used)


def gate_operations(model: Ranker, behaviors: int) -> int:
    """The same of one session's gate, eq. 6 to 8.

    Args:
        model: AW-MoE with both units, built.
        behaviors: T; the start behaviour comes on top.
    """
    gate = model.gate_network
    units = (gate.gate_unit, gate.activation_unit)
    of_key = [layer.kernel for unit in units for layer in (unit.key_layer, unit.product_layer, *unit.upper_layers)]
    of_session = [*gate.context_mlp.trainable_weights, *(unit.query_layer.kernel for unit in units)]
    times = {behaviors + 1: [*gate.behavior_mlp.trainable_weights, *of_key], 1: of_session}
    return 2 * sum(
        count * int(np.prod(weight.shape))
        for count, weights in times.items()
        for weight in weights
        if weight.shape.rank > 1
    )


def training_operations(model: Ranker, sessions: int, candidates: int, behaviors: int, top_k: int | None = None) -> int:
    """The same of a training step: each product once forward and twice back, for its input and for its weights."""
    of_session = score_operations(model, candidates, behaviors, top_k) + gate_operations(model, behaviors)
    return 3 * sessions * of_session
