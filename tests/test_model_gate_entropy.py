"""The entropy of gates, against arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from model.gate_entropy import GateEntropy


def entropy(*batches: list[list[float]]) -> float:
    metric = GateEntropy()
    for batch in batches:
        metric.update_state(tf.constant(batch))
    return float(metric.result())


def test_even_gates_have_1_and_a_single_expert_0() -> None:
    assert entropy([[0.25] * 4, [-3.0] * 4]) == pytest.approx(1)
    assert entropy([[0.0, -2.0, 0.0]]) == 0
    assert entropy([[1.0]]) == 0
    assert entropy([[0.0, 0.0]]) == 0


def test_it_is_the_mean_over_gates_not_over_batches() -> None:
    uneven = -(0.75 * np.log(0.75) + 0.25 * np.log(0.25)) / np.log(2)
    assert entropy([[1.0, 1.0], [1.0, 1.0]], [[3.0, -1.0]]) == pytest.approx((2 + uneven) / 3, rel=1e-6)
