"""Counts of every record column's values, which add up in any order, and what derives from them.

Numbers are rounded to four significant digits before they are counted, so that mean,
deviation and quantiles come from sums of integers: the same on every runner.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.encoding_assets import NumericStatistics
from pipeline.features import COUNTS, RECORD_COLUMNS, Feature, Features, InputSpec, MultiCategorical, Numeric
from pipeline.sampling import hash_texts

#: Buckets by which the texts of a hashed table are counted: there may be too many to count each.
HASH_BUCKETS = 1024
_HASH_SEED = 0
_DIGITS = 4
#: Record columns that tell sessions apart, hence are not counted.
_IDENTITY = ("session_id", "user_id", "time")


def counted_specs(features: Features) -> tuple[InputSpec, ...]:
    """The record columns whose values are counted, in the records' order."""
    specs = (*(f.spec for f in features.encoded), *COUNTS, *RECORD_COLUMNS)
    return tuple(spec for spec in specs if spec.name not in _IDENTITY)


def counted_by_bucket(features: Features, feature: Feature) -> bool:
    """Whether the values counted are bucket numbers of a hash, as text, in place of the feature's texts."""
    table = features.tables.get(feature.table or "")
    return not isinstance(feature.declaration, Numeric) and table is not None and table.hash_buckets is not None


def count_columns(features: Features, records: pa.RecordBatch) -> Iterator[tuple[str, pa.RecordBatch]]:
    """Counts of the values of each of `counted_specs` in a batch of records.

    Returns:
        The column's name, and a batch with columns `value` and `count` (int64) that has each value
        once, in no certain order. A number is a float64, null where it is missing. A text is a
        string, "" where it is missing; one of several values is split into them, and counts as
        one "" if it has none; one of a hashed table is its bucket, "0" to "1023".
    """
    encoded = {feature.name: feature for feature in features.encoded}
    for spec in counted_specs(features):
        values = records.column(spec.name).flatten()
        if spec.dtype != "string":
            yield spec.name, _counted(_rounded(values))
            continue
        counts, feature = _counted(values), encoded[spec.name]
        if isinstance(feature.declaration, MultiCategorical):
            counts = _split(counts, feature.declaration.separator)
        if counted_by_bucket(features, feature):
            counts = _weighted(_buckets(counts.column("value")), counts.column("count").to_numpy())
        yield spec.name, counts


def add_counts(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    """One batch of counts with each value once, sorted by value, a missing number last."""
    table = pa.Table.from_batches(batches).group_by("value").aggregate([("count", "sum")])
    table = table.rename_columns({"count_sum": "count"}).sort_by("value")
    return table.select(["value", "count"]).combine_chunks().to_batches()[0] if table.num_rows else batches[0]


def vocabularies(features: Features, columns: Mapping[str, pa.RecordBatch]) -> dict[str, list[str]]:
    """The values of each table with a vocabulary that occur often enough, the most frequent first, then by value.

    Args:
        columns: counts of the training part by record column; one that is not there has no values.
    """
    values = {}
    for name, table in features.tables.items():
        if table.hash_buckets is None:
            counts = _sum(columns, [f.name for f in features.encoded if f.table == name], pa.string())
            often = pc.greater_equal(counts.column("count"), table.min_count)
            counts = counts.filter(pc.and_(often, pc.not_equal(counts.column("value"), "")))
            values[name] = counts.sort_by([("count", "descending"), ("value", "ascending")]).column("value").to_pylist()
    return values


def numeric_statistics(features: Features, columns: Mapping[str, pa.RecordBatch]) -> dict[str, NumericStatistics]:
    """Mean, deviation and, for a bucketised number, the inner quantiles, by `Feature.statistic`.

    A constant number has deviation 1, and a number without values mean 0.

    Args:
        columns: counts of the training part by record column; one that is not there has no values.
    """
    statistics = {}
    for feature in features.encoded:
        if isinstance(feature.declaration, Numeric) and feature.statistic not in statistics:
            counts = _sum(columns, [f.name for f in features.encoded if f.statistic == feature.statistic], pa.float64())
            there = counts.filter(counts.column("value").is_valid())
            statistics[feature.statistic] = _statistics(there, feature.declaration)
    return statistics


def _statistics(counts: pa.RecordBatch, declaration: Numeric) -> NumericStatistics:
    inner = (declaration.buckets or 1) - 1
    if not counts.num_rows:
        return NumericStatistics(0.0, 1.0, (0.0,) * inner)
    values, times = (counts.column(name).to_numpy() for name in ("value", "count"))
    values = np.log1p(values) if declaration.log else values
    total = times.sum()
    mean = float((values * times).sum() / total)
    std = float(np.sqrt(((values - mean) ** 2 * times).sum() / total))
    # Quantile q is the least value with at least q of all values at or below it.
    wanted = np.arange(1, inner + 1) / (inner + 1) * total
    boundaries = values[np.searchsorted(np.cumsum(times), wanted)]
    return NumericStatistics(mean, std if std >= 1e-6 else 1.0, tuple(boundaries.tolist()))


def _sum(columns: Mapping[str, pa.RecordBatch], names: list[str], dtype: pa.DataType) -> pa.RecordBatch:
    nothing = pa.RecordBatch.from_pydict({"value": pa.array([], dtype), "count": pa.array([], pa.int64())})
    return add_counts([nothing, *(columns[name] for name in names if name in columns)])


def _counted(values: pa.Array) -> pa.RecordBatch:
    counts = pc.value_counts(values)
    return pa.RecordBatch.from_arrays([counts.field("values"), counts.field("counts")], names=["value", "count"])


def _weighted(values: pa.Array, weights: np.ndarray) -> pa.RecordBatch:
    """Counts of values that occur `weights` times each."""
    encoded = values.dictionary_encode()
    # As floats, which hold these sums exactly.
    sums = np.bincount(encoded.indices.to_numpy(), weights, minlength=len(encoded.dictionary))
    return pa.RecordBatch.from_arrays([encoded.dictionary, pa.array(sums.astype(np.int64))], names=["value", "count"])


def _split(counts: pa.RecordBatch, separator: str) -> pa.RecordBatch:
    """Counts of the values in texts of several; texts repeat, so they are split after they were counted."""
    texts, times = counts.column("value"), counts.column("count").to_numpy()
    lists = pc.split_pattern(texts, separator)
    values, text = lists.flatten(), pc.list_parent_indices(lists).to_numpy()
    there = pc.not_equal(values, "")
    values, text = values.filter(there), text[there.to_numpy(zero_copy_only=False)]
    without = np.setdiff1d(np.arange(len(texts)), text)
    missing = pa.array([""] * len(without), pa.string())
    return _weighted(pa.concat_arrays([values, missing]), times[np.concatenate([text, without])])


def _buckets(texts: pa.Array) -> pa.Array:
    buckets = pa.array((hash_texts(texts, _HASH_SEED) % np.uint64(HASH_BUCKETS)).astype(np.int64)).cast(pa.string())
    return pc.if_else(pc.equal(texts, ""), "", buckets)


def _rounded(values: pa.Array) -> pa.Array:
    """Rounded to significant digits; -0 becomes 0, and what is no finite number null."""
    numbers = values.to_numpy(zero_copy_only=False).astype(np.float64)
    missing = ~np.isfinite(numbers)
    numbers = np.where(missing, 0.0, numbers)
    exponent = np.floor(np.log10(np.abs(numbers), out=np.zeros_like(numbers), where=numbers != 0))
    scale = 10.0 ** (_DIGITS - 1 - exponent)
    return pa.array(np.rint(numbers * scale) / scale + 0.0, mask=missing)
