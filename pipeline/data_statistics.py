"""Statistics of prepared data: what `awmoe validate` compares, as messages of tensorflow_metadata.

They are a function of counts of values, which are sums of integers and hence the same on every
runner. tfx-bsl's sketches over raw rows were not used: their result depends on the order in
which a runner merges them, and from counts the exact answer is no more code.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from google.protobuf.message import DecodeError
from tensorflow_metadata.proto.v0 import statistics_pb2

from pipeline.errors import InputError
from pipeline.features import GROUP_AXIS, Features, InputSpec, MultiCategorical
from pipeline.prepared_data import PARTS, Part
from pipeline.value_counts import HASH_BUCKETS, counted_by_bucket, counted_specs

STATISTICS_FILE = "data_statistics.pb"
#: Of a text's values, the most frequent this many are named; enough for all buckets of a hashed table.
NAMED_VALUES = 1024
#: A number's histogram has at most this many buckets, of about equal weight.
QUANTILE_BUCKETS = 100
#: The custom statistic of a text that is counted by bucket of a hash: how many buckets.
BUCKETS_STATISTIC = "hash_buckets"
_TOP_VALUES = 10
_TYPES = {
    "string": statistics_pb2.FeatureNameStatistics.STRING,
    "float32": statistics_pb2.FeatureNameStatistics.FLOAT,
    "int64": statistics_pb2.FeatureNameStatistics.INT,
}


def data_statistics(
    features: Features, counts: Mapping[Part, Mapping[str, pa.RecordBatch]]
) -> statistics_pb2.DatasetFeatureStatisticsList:
    """Statistics of each part and each counted record column.

    The unit of a column is what holds its value: a session, a behaviour or a candidate. In
    `CommonStatistics`, `num_missing` and `num_non_missing` count units, and `tot_num_values` values, which
    are more where a text is of several. Everything else describes the values that are there.

    - A number has a histogram of type QUANTILES with exact counts. Its buckets are closed, hold about
      a hundredth of the values each and do not overlap; a value that is frequent has one of its own.
    - A text has a rank histogram of its most frequent values, one a bucket; if there are more than
      `NAMED_VALUES`, a last bucket without a label counts the rest together.

    Args:
        features: the declaration.
        counts: by part, the counts of `value_counts.count_columns` by column, added with `add_counts`;
            a part without records may lack.

    Returns:
        One `DatasetFeatureStatistics` a part, in the order of `PARTS`; a part without records has no features.
    """
    statistics = statistics_pb2.DatasetFeatureStatisticsList()
    buckets = {f.name for f in features.encoded if counted_by_bucket(features, f)}
    several = {f.name for f in features.encoded if isinstance(f.declaration, MultiCategorical)}
    for part in PARTS:
        # A column without any value (no user has a behaviour) is not among the counts.
        columns = {spec.name: _no_counts(spec) for spec in counted_specs(features)} | dict(counts.get(part, {}))
        sessions = _total(columns["behavior_count"])
        dataset = statistics.datasets.add(name=part, num_examples=sessions)
        if not sessions:
            continue
        # Every behaviour and every candidate has exactly one item id.
        units = {axis: _total(columns[f"{g}_item_id"]) if axis else sessions for g, axis in GROUP_AXIS.items()}
        for spec in counted_specs(features):
            feature = _feature(spec, columns[spec.name], units[spec.axis])
            if spec.name in buckets:
                feature.custom_stats.add(name=BUCKETS_STATISTIC, num=HASH_BUCKETS)
            if spec.name not in several:
                common = _common(feature)
                common.min_num_values = common.max_num_values = 1 if common.num_non_missing else 0
            dataset.features.append(feature)
    return statistics


def dump_data_statistics(statistics: statistics_pb2.DatasetFeatureStatisticsList) -> bytes:
    """The bytes of `data_statistics.pb`, equal for equal statistics."""
    return statistics.SerializeToString(deterministic=True)


def load_data_statistics(directory: str | Path) -> statistics_pb2.DatasetFeatureStatisticsList:
    """Reads the statistics of prepared data.

    Raises:
        InputError: they are not there, or are damaged.
    """
    path = Path(directory) / STATISTICS_FILE
    try:
        return statistics_pb2.DatasetFeatureStatisticsList.FromString(path.read_bytes())
    except FileNotFoundError:
        raise InputError(f"{path}: not there; run `awmoe preprocess` again, which writes it") from None
    except (OSError, DecodeError) as error:
        raise InputError(f"{path}: is damaged ({error}); preprocess again") from None


def _no_counts(spec: InputSpec) -> pa.RecordBatch:
    value = pa.array([], pa.string() if spec.dtype == "string" else pa.float64())
    return pa.RecordBatch.from_arrays([value, pa.array([], pa.int64())], names=["value", "count"])


def _feature(spec: InputSpec, counts: pa.RecordBatch, units: int) -> statistics_pb2.FeatureNameStatistics:
    values = counts.column("value")
    there = pc.not_equal(values, "") if spec.dtype == "string" else values.is_valid()
    missing = _total(counts.filter(pc.invert(there)))
    counts = counts.filter(there)
    feature = statistics_pb2.FeatureNameStatistics(name=spec.name, type=_TYPES[spec.dtype])
    if spec.dtype == "string":
        feature.string_stats.CopyFrom(_string_statistics(counts))
    else:
        feature.num_stats.CopyFrom(_numeric_statistics(counts, missing))
    common, total = _common(feature), _total(counts)
    common.num_missing = missing
    common.num_non_missing = units - missing
    common.tot_num_values = total
    common.avg_num_values = total / (units - missing) if units > missing else 0.0
    return feature


def _common(feature: statistics_pb2.FeatureNameStatistics) -> statistics_pb2.CommonStatistics:
    return getattr(feature, feature.WhichOneof("stats")).common_stats


def _string_statistics(counts: pa.RecordBatch) -> statistics_pb2.StringStatistics:
    statistics = statistics_pb2.StringStatistics(unique=counts.num_rows)
    if not counts.num_rows:
        return statistics
    total = _total(counts)
    lengths = pc.multiply(pc.utf8_length(counts.column("value")), counts.column("count"))
    statistics.avg_length = pc.sum(lengths).as_py() / total
    ordered = counts.sort_by([("count", "descending"), ("value", "ascending")]).slice(0, NAMED_VALUES)
    named = list(zip(ordered.column("value").to_pylist(), ordered.column("count").to_pylist(), strict=True))
    for value, count in named[:_TOP_VALUES]:
        statistics.top_values.add(value=value, frequency=count)
    for rank, (value, count) in enumerate(named):
        statistics.rank_histogram.buckets.add(low_rank=rank, high_rank=rank, label=value, sample_count=count)
    if counts.num_rows > len(named):
        rest = total - _total(ordered)
        statistics.rank_histogram.buckets.add(low_rank=len(named), high_rank=counts.num_rows - 1, sample_count=rest)
    return statistics


def _numeric_statistics(counts: pa.RecordBatch, missing: int) -> statistics_pb2.NumericStatistics:
    statistics = statistics_pb2.NumericStatistics()
    histogram = statistics.histograms.add(type=statistics_pb2.Histogram.QUANTILES, num_nan=missing)
    if not counts.num_rows:
        return statistics
    values, times = (counts.column(name).to_numpy() for name in ("value", "count"))
    until = np.cumsum(times)
    total = int(until[-1])
    statistics.mean = float((values * times).sum() / total)
    statistics.std_dev = float(np.sqrt(((values - statistics.mean) ** 2 * times).sum() / total))
    statistics.num_zeros = int(times[values == 0].sum())
    statistics.min, statistics.max = float(values[0]), float(values[-1])
    statistics.median = float(values[np.searchsorted(until, total / 2)])
    for first, last in _quantile_ranges(times):
        histogram.buckets.add(
            low_value=values[first], high_value=values[last], sample_count=times[first : last + 1].sum()
        )
    return statistics


def _quantile_ranges(times: np.ndarray) -> np.ndarray:
    """First and last of the values in each bucket: each value its own while they are few, else of equal weight."""
    if len(times) <= QUANTILE_BUCKETS:
        bucket = np.arange(len(times))
    else:
        # By the middle of its weight, so that a value of two buckets' weight shares none.
        bucket = (2 * np.cumsum(times) - times) * QUANTILE_BUCKETS // (2 * times.sum())
    ends = np.flatnonzero(np.append(np.diff(bucket), 1))
    return np.stack([np.append(0, ends[:-1] + 1), ends], axis=1)


def _total(counts: pa.RecordBatch) -> int:
    return int(counts.column("count").to_numpy().sum())
