"""Statistics of new prepared data against those of old, part by part."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

from tensorflow_metadata.proto.v0 import statistics_pb2

from pipeline.config import Validation
from pipeline.data_statistics import BUCKETS_STATISTIC
from pipeline.prepared_data import PARTS, Part
from pipeline.validation.finding import Finding
from pipeline.validation.number_drift import number_drift
from pipeline.validation.text_drift import TextShares

#: A finding names this many of the values it is about.
_EXAMPLES = 3
_ITEM_IDS = ("behavior_item_id", "candidate_item_id")
Feature: TypeAlias = statistics_pb2.FeatureNameStatistics
Dataset: TypeAlias = statistics_pb2.DatasetFeatureStatistics


def compare_statistics(
    new: statistics_pb2.DatasetFeatureStatisticsList,
    old: statistics_pb2.DatasetFeatureStatisticsList,
    thresholds: Validation,
    parts: Sequence[Part] = PARTS,
) -> list[Finding]:
    """Every measure of every feature that both have; what only one has, the schemas tell.

    A part with fewer than `fewest_sessions` in one of them is too small to be compared, and has the
    finding `fewest_sessions` alone: above its threshold if it was large enough in the old data. A part
    without sessions in both has none.

    Args:
        new, old: as `data_statistics` makes them.
        thresholds: the scenario's section `validation`.
        parts: which to compare.
    """
    datasets = [{dataset.name: dataset for dataset in statistics.datasets} for statistics in (old, new)]
    findings: list[Finding] = []
    for part in parts:
        old_part, new_part = (named.get(part, Dataset(name=part)) for named in datasets)
        sessions = old_part.num_examples, new_part.num_examples
        if min(sessions) >= thresholds.fewest_sessions:
            findings += _compare_part(part, old_part, new_part, thresholds)
        elif any(sessions):
            findings.append(_too_small(part, *sessions, thresholds.fewest_sessions))
    return findings


def _too_small(part: Part, old: int, new: int, fewest: int) -> Finding:
    detail = "too small to be compared"
    return Finding(part, "", "fewest_sessions", old, new, new, fewest, new < fewest <= old, detail)


def _compare_part(part: Part, old_part: Dataset, new_part: Dataset, thresholds: Validation) -> Iterator[Finding]:
    old_features = {feature.name: feature for feature in old_part.features}
    for new in new_part.features:
        old = old_features.get(new.name)
        if old is None or old.type != new.type:
            continue
        if _by_bucket(old) != _by_bucket(new):
            was, now = ("hash buckets" if _by_bucket(feature) else "texts" for feature in (old, new))
            detail = "cannot be compared"
            yield Finding(part, new.name, "same_schema", was, now, 1.0, 0.0, thresholds.same_schema, detail)
        else:
            yield from _compare_feature(part, old, new, thresholds)


def _compare_feature(part: Part, old: Feature, new: Feature, thresholds: Validation) -> Iterator[Finding]:
    name = new.name
    own = thresholds.features.get(name)

    def finding(
        measure: str, was: float, now: float, value: float, values: Sequence[str] = (), key: str | None = None
    ) -> Finding:
        threshold = getattr(own, measure, None)  # of this feature alone
        threshold = getattr(thresholds, key or measure) if threshold is None else threshold
        more = f" and {len(values) - _EXAMPLES:,} more" if len(values) > _EXAMPLES else ""
        detail = ", ".join(f"`{value}`" for value in values[:_EXAMPLES]) + more
        return Finding(part, name, measure, was, now, value, threshold, value > threshold, detail)

    missing = _missing_share(old), _missing_share(new)
    if name == "candidate_label":
        rates = old.num_stats.mean, new.num_stats.mean
        yield finding("label_rate", *rates, _relative_change(*rates))
        return
    if name == "behavior_count":
        means = old.num_stats.mean, new.num_stats.mean
        yield finding("behavior_count", *means, _relative_change(*means))
    if new.WhichOneof("stats") == "num_stats":
        medians = old.num_stats.median, new.num_stats.median
        yield finding("drift", *medians, number_drift(old.num_stats, new.num_stats), key="number_drift")
    else:
        was, now = TextShares.of(old.string_stats), TextShares.of(new.string_stats)
        change, value = now.largest_change(was)
        shares = was.named.get(value, 0.0), now.named.get(value, 0.0)
        yield finding("drift", *shares, change, [value] if value else [], key="text_drift")
        what = "items" if name in _ITEM_IDS else "values"
        appeared, values = now.surely_not_in(was)
        yield finding("new_values", 0.0, appeared, appeared, values, key=f"new_{what}")
        vanished, values = was.surely_not_in(now)
        yield finding("vanished_values", vanished, 0.0, vanished, values, key=f"vanished_{what}")
    yield finding("missing_increase", *missing, max(0.0, missing[1] - missing[0]))


def _by_bucket(feature: Feature) -> bool:
    return any(custom.name == BUCKETS_STATISTIC for custom in feature.custom_stats)


def _missing_share(feature: Feature) -> float:
    common = getattr(feature, feature.WhichOneof("stats")).common_stats
    units = common.num_missing + common.num_non_missing
    return common.num_missing / units if units else 0.0


def _relative_change(old: float, new: float) -> float:
    larger = max(old, new)
    return abs(new - old) / larger if larger else 0.0
