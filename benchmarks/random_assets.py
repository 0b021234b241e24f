"""Vocabularies and statistics of a scenario without data, for measurements."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipeline.encoding_assets import STATISTICS, VOCABULARIES, EncodingAssets, NumericStatistics, dump_statistics
from pipeline.features import Features, Numeric


def random_assets(directory: Path, features: Features, vocabulary: int) -> EncodingAssets:
    """Writes `vocabulary` made-up values a table, and statistics of numbers up to 100.

    Args:
        directory: made when it is not there.
        features: the scenario's declaration.
        vocabulary: values of each table that has a vocabulary.
    """
    (directory / VOCABULARIES).mkdir(parents=True, exist_ok=True)
    for name, table in features.tables.items():
        if table.hash_buckets is None:
            values = "".join(f"{name}_{i}\n" for i in range(vocabulary))
            (directory / VOCABULARIES / f"{name}.txt").write_text(values, encoding="utf-8")
    statistics = {}
    for feature in features.encoded:
        if isinstance(feature.declaration, Numeric):
            inner = np.linspace(0, 100, (feature.declaration.buckets or 1) + 1)[1:-1]
            mean, std = (3.5, 1.0) if feature.declaration.log else (50.0, 29.0)
            statistics[feature.statistic] = NumericStatistics(mean, std, tuple(inner.tolist()))
    (directory / STATISTICS).write_text(dump_statistics(statistics), encoding="utf-8")
    return EncodingAssets.load(directory, features)
