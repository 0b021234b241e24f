"""Random sessions of a scenario, raw as a request holds them: what an export is checked on."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from pipeline.encoding_assets import EncodingAssets
from pipeline.features import Feature, Features, MultiCategorical, Numeric


def random_sessions(
    features: Features, assets: EncodingAssets, *, batch: int, behaviors: int, candidates: int, seed: int
) -> dict[str, tf.Tensor]:
    """Every input of `score_items` but the gate, by name.

    Values come from the vocabularies and the numbers' distributions, with unknown and
    missing ones among them. Counts are random; the first session has no behaviours.

    Args:
        features: the scenario's declaration.
        assets: its vocabularies and statistics.
        batch: sessions, B.
        behaviors: T, at least 1.
        candidates: N, at least 1.
        seed: the same arguments give the same sessions.
    """
    rng = np.random.default_rng(seed)
    behavior_count = rng.integers(0, behaviors, batch, endpoint=True)
    behavior_count[0] = 0
    sizes = {"": (batch,), "T": (batch, behaviors), "N": (batch, candidates)}
    raw = {feature.name: _values(feature, assets, sizes[feature.spec.axis], rng) for feature in features.encoded}
    raw["behavior_count"] = behavior_count
    raw["candidate_count"] = rng.integers(1, candidates, batch, endpoint=True)
    return {name: tf.constant(values) for name, values in raw.items()}


def _values(feature: Feature, assets: EncodingAssets, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    declaration = feature.declaration
    if isinstance(declaration, Numeric):
        statistics = assets.numeric[feature.statistic]
        numbers = rng.normal(statistics.mean, statistics.std or 1.0, shape)
        numbers = np.expm1(np.maximum(numbers, 0)) if declaration.log else numbers
        missing = declaration.optional & (rng.random(shape) < 0.1)
        return np.where(missing, np.nan, numbers).astype(np.float32)
    known = assets.vocabulary(declaration.table)[:1000]
    choices = np.array(["", "a value that nobody knows", *known], object)
    if isinstance(declaration, MultiCategorical):
        return rng.choice(choices, shape) + declaration.separator + rng.choice(choices, shape)
    return rng.choice(choices, shape)
