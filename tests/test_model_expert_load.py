"""The experts' load, against arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from model.expert_load import ExpertLoad


@pytest.mark.parametrize(("sparse", "expected"), [(False, [0.25, 7 / 24, 11 / 24]), (True, [1 / 3, 2 / 3, 2 / 3])])
def test_shares_of_weight_or_of_use(sparse: bool, expected: list[float]) -> None:
    """Three gates in two batches."""
    metric = ExpertLoad(3, sparse=sparse)
    metric.update_state(tf.constant([[3.0, -1.0, 0.0], [0.0, 5.0, -3.0]]))
    metric.update_state(tf.constant([[[0.0, 0.0, 2.0]]]))
    np.testing.assert_allclose(metric.result(), expected, rtol=1e-6)
    metric.reset_state()
    np.testing.assert_array_equal(metric.result(), [0, 0, 0])
