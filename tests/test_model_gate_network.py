"""The gate network, eq. 6 to 8, and its ablations."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from model.gate_network import GateNetwork
from pipeline.config import Experts, Gate, Model

K = 3
BEHAVIORS = tf.random.stateless_normal([2, 4, 7], seed=[1, 1])
MASK = tf.constant([[1.0, 1, 1, 0], [1.0, 0, 0, 0]])
QUERY = tf.random.stateless_normal([2, 5], seed=[1, 2])
CANDIDATES = tf.random.stateless_normal([2, 6, 5], seed=[1, 3])
UNITS = list(itertools.product([True, False], [True, False]))


def network(inputs: tf.Tensor = QUERY, *, randomized: bool = True, **gate: Any) -> GateNetwork:
    options = Model(hidden_layers=(6,), experts=Experts(count=K), gate=Gate(unit_layers=(5, 4), **gate))
    layer = GateNetwork(options)
    layer(BEHAVIORS, MASK, inputs)
    if randomized:
        rng = np.random.default_rng(0)
        for weight in layer.trainable_variables:
            weight.assign(rng.normal(0, 0.5, weight.shape))
    return layer


def reference(layer: GateNetwork, gate_unit: bool, activation_unit: bool, session: int) -> np.ndarray:
    """Eq. 8 of one session, behaviour by behaviour, from the units' own outputs; table VI's variants."""
    h_b = layer.behavior_mlp(BEHAVIORS)
    h_q = layer.context_mlp(QUERY) if gate_unit or activation_unit else None
    total = np.zeros(K)
    for j in range(int(MASK.numpy()[session].sum())):
        weight = layer.activation_unit(h_b, h_q).numpy()[session, j, 0] if activation_unit else 1.0
        unit = layer.gate_unit(h_b, h_q).numpy()[session, j] if gate_unit else h_b.numpy()[session, j]
        total = total + weight * (unit if gate_unit else unit @ layer.linear.kernel.numpy())
    return total


@pytest.mark.parametrize("form", ["raw", "scaled"])
@pytest.mark.parametrize(("gate_unit", "activation_unit"), UNITS)
def test_equals_the_paper(form: str, gate_unit: bool, activation_unit: bool) -> None:
    layer = network(form=form, gate_unit=gate_unit, activation_unit=activation_unit)
    gate = layer(BEHAVIORS, MASK, QUERY).numpy()
    for session, behaviors in enumerate([3, 1]):
        expected = reference(layer, gate_unit, activation_unit, session)
        expected = expected if form == "raw" else 1 / K + expected / behaviors
        np.testing.assert_allclose(gate[session], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("gate_unit", "activation_unit"), UNITS)
def test_a_candidate_as_context_gives_each_its_gate(gate_unit: bool, activation_unit: bool) -> None:
    layer = network(CANDIDATES, context="target_item", gate_unit=gate_unit, activation_unit=activation_unit)
    gates = layer(BEHAVIORS, MASK, CANDIDATES).numpy()
    if not (gate_unit or activation_unit):  # the context has no part
        assert gates.shape == (2, K)
        return
    assert gates.shape == (2, 6, K)
    for n in range(6):
        np.testing.assert_allclose(gates[:, n], layer(BEHAVIORS, MASK, CANDIDATES[:, n]), rtol=1e-5, atol=1e-6)


def test_the_scaled_form_starts_near_equal_weights() -> None:
    tf.keras.utils.set_random_seed(1)
    gate = network(randomized=False)(BEHAVIORS, MASK, QUERY).numpy()
    np.testing.assert_allclose(gate, 1 / K, atol=0.05)
    assert gate.std() > 0


def test_padding_changes_nothing_and_gradients_stay_finite() -> None:
    layer = network()
    garbage = tf.where(MASK[..., tf.newaxis] > 0, BEHAVIORS, 1e6)
    with tf.GradientTape() as tape:
        tape.watch(garbage)
        padded = layer(garbage, MASK, QUERY)
        loss = tf.reduce_sum(padded**2)
    np.testing.assert_allclose(padded, layer(BEHAVIORS[:, :3], MASK[:, :3], QUERY), rtol=1e-6, atol=1e-6)
    gradient = tape.gradient(loss, garbage).numpy()
    assert np.isfinite(gradient).all()
    assert not gradient[MASK.numpy() == 0].any()


def test_contributions_are_reused_with_another_mask() -> None:
    layer = network()
    other = tf.constant([[1.0, 0, 1, 0], [1.0, 0, 0, 0]])
    kept = tf.gather(BEHAVIORS, [0, 2], axis=1)
    reused = layer.reduce(layer.contributions(BEHAVIORS, QUERY), other)
    np.testing.assert_allclose(reused[0], layer(kept, tf.ones([2, 2]), QUERY)[0], rtol=1e-5, atol=1e-6)
