"""How many rows every embedding table has."""

from __future__ import annotations

from pathlib import Path

from pipeline.encoding_assets import EncodingAssets
from pipeline.features import Features, Numeric

_BYTES_AT_ONCE = 1 << 20


def table_rows(features: Features, assets: EncodingAssets) -> dict[str, int]:
    """Rows by table: `[missing][out of vocabulary...][vocabulary...]`, `[missing][buckets...]` without a vocabulary."""
    rows: dict[str, int] = {}
    for name, table in features.tables.items():
        if table.hash_buckets:
            rows[name] = 1 + table.hash_buckets
        else:
            rows[name] = 1 + table.oov_buckets + _lines(assets.vocabularies[name])
    for feature in features.encoded:
        if isinstance(feature.declaration, Numeric) and feature.declaration.buckets:
            rows[feature.statistic] = 2 + len(assets.numeric[feature.statistic].boundaries)
    return rows


def _lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(_BYTES_AT_ONCE), b""))
