"""Cross features against a slow, obvious reference."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from model.cross_features import CrossFeatures
from tiny_data import tiny_scenario

LAYER = CrossFeatures(tiny_scenario().features)


def random_inputs(seed: int, behaviors: int, candidates: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Two sessions; fingerprint 0 and log -1 mean missing."""
    rng = np.random.default_rng(seed)
    encoded: dict[str, np.ndarray] = {
        "behavior_age_days/log": rng.choice([-1.0, 0.0, 0.5, 3.0], (2, behaviors)).astype(np.float32)
    }
    for group, width in (("behavior", behaviors), ("candidate", candidates)):
        for field in ("item_id", "brand"):
            encoded[f"{group}_{field}/fingerprint"] = rng.integers(0, 4, (2, width))
        encoded[f"{group}_price/log"] = rng.choice([-1.0, 0.0, 1.5, 2.5], (2, width)).astype(np.float32)
    return encoded, rng.random((2, behaviors)) < 0.7


def reference(encoded: dict[str, np.ndarray], mask: np.ndarray, b: int, n: int) -> list[float]:
    numbers = []
    real = [t for t in range(mask.shape[1]) if mask[b, t]]
    for field in ("item_id", "brand"):
        value = encoded[f"candidate_{field}/fingerprint"][b, n]
        same = [t for t in real if value != 0 and encoded[f"behavior_{field}/fingerprint"][b, t] == value]
        ages = [encoded["behavior_age_days/log"][b, t] for t in same]
        numbers += [np.log(1 + len(same)), max((1 / (1 + age) for age in ages if age >= 0), default=0.0)]
        numbers.append(1 / (1 + same[0]) if same else 0.0)
    prices = [encoded["behavior_price/log"][b, t] for t in real if encoded["behavior_price/log"][b, t] >= 0]
    price = encoded["candidate_price/log"][b, n]
    return [*numbers, price - np.mean(prices) if prices and price >= 0 else 0.0]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), behaviors=st.integers(1, 6), candidates=st.integers(1, 4))
def test_equals_the_reference(seed: int, behaviors: int, candidates: int) -> None:
    encoded, mask = random_inputs(seed, behaviors, candidates)
    crossed = LAYER({name: tf.constant(value) for name, value in encoded.items()}, tf.constant(mask)).numpy()
    expected = [[reference(encoded, mask, b, n) for n in range(candidates)] for b in range(2)]
    np.testing.assert_allclose(crossed, expected, rtol=1e-5, atol=1e-6)
