"""Vocabularies and numeric statistics, as counts of values that add up in any order.

Numbers are rounded to four significant digits before they are counted, so that mean,
deviation and quantiles come from sums of integers: the same on every runner.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.encoding_assets import NumericStatistics
from pipeline.features import Features, MultiCategorical, Numeric, Table

_DIGITS = 4


def count_values(features: Features, records: pa.RecordBatch) -> Iterator[tuple[str, pa.RecordBatch]]:
    """Counts of each vocabulary's and each statistic's values in a batch of records.

    Returns:
        The name of the table or the statistic (they never clash), and batches with columns
        `value` (string, or float64 after log(1 + x) where declared) and `count`.
    """
    for feature in features.encoded:
        values = records.column(feature.name).flatten()
        declaration = feature.declaration
        if isinstance(declaration, Numeric):
            numbers = values.to_numpy(zero_copy_only=False).astype(np.float64)
            numbers = np.log1p(numbers) if declaration.log else numbers
            yield feature.statistic, _counted(pa.array(_rounded(numbers[np.isfinite(numbers)])))
        elif features.tables[declaration.table].hash_buckets is None:
            if isinstance(declaration, MultiCategorical):
                values = pc.split_pattern(values, declaration.separator).flatten()
            yield declaration.table, _counted(values.filter(pc.not_equal(values, "")))


def add_counts(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    """One batch of counts with each value once, sorted by value."""
    table = pa.Table.from_batches(batches).group_by("value").aggregate([("count", "sum")])
    table = table.rename_columns({"count_sum": "count"}).sort_by("value")
    return table.select(["value", "count"]).combine_chunks().to_batches()[0] if table.num_rows else batches[0]


def vocabulary(counts: pa.RecordBatch, table: Table) -> list[str]:
    """Values that occur often enough, the most frequent first, then by value."""
    counts = counts.filter(pc.greater_equal(counts.column("count"), table.min_count))
    return counts.sort_by([("count", "descending"), ("value", "ascending")]).column("value").to_pylist()


def numeric_statistics(counts: pa.RecordBatch, declaration: Numeric) -> NumericStatistics:
    """Mean, deviation and, for a bucketised number, the inner quantiles.

    A constant number has deviation 1, and a number without values mean 0.
    """
    inner = (declaration.buckets or 1) - 1
    if not counts.num_rows:
        return NumericStatistics(0.0, 1.0, (0.0,) * inner)
    values, times = (counts.column(name).to_numpy() for name in ("value", "count"))
    total = times.sum()
    mean = float((values * times).sum() / total)
    std = float(np.sqrt(((values - mean) ** 2 * times).sum() / total))
    # Quantile q is the least value with at least q of all values at or below it.
    wanted = np.arange(1, inner + 1) / (inner + 1) * total
    boundaries = values[np.searchsorted(np.cumsum(times), wanted)]
    return NumericStatistics(mean, std if std >= 1e-6 else 1.0, tuple(boundaries.tolist()))


def _counted(values: pa.Array) -> pa.RecordBatch:
    counts = pc.value_counts(values)
    return pa.RecordBatch.from_arrays([counts.field("values"), counts.field("counts")], names=["value", "count"])


def _rounded(numbers: np.ndarray) -> np.ndarray:
    """Rounded to significant digits; -0 becomes 0."""
    exponent = np.floor(np.log10(np.abs(numbers), out=np.zeros_like(numbers), where=numbers != 0))
    scale = 10.0 ** (_DIGITS - 1 - exponent)
    return np.rint(numbers * scale) / scale + 0.0
