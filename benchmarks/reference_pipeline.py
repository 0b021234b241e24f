"""The job of `pipeline.run` written the usual way: Python dicts, one `tf.train.Example` at a time.

What a competent Beam user writes first, on the same runner: rows are dicts, a user's rows meet in
one `CoGroupByKey`, as-of numbers come from sorted lists and `bisect`, small tables are `AsDict`
side inputs. The records, vocabularies and statistics are those of the pipeline
(`tests/test_benchmarks_pipeline.py` holds the records equal, in every value and in the order of the
candidates), so a benchmark compares two ways to do one job.

It does less than the pipeline, never more: rows are not checked but for unknown items, nothing is
reported of what was left out, and no tables for serving are written. It knows the kinds of features
that `configs/search.yaml` has: categorical and plain numbers of items, texts of queries and users,
`count` and `bought_with`, a split by time.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pandas as pd
import tensorflow as tf
from apache_beam.metrics import Metrics, MetricsFilter
from apache_beam.pvalue import AsDict, AsSingleton

from pipeline.beam_pipeline import beam_pipeline
from pipeline.config import Scenario
from pipeline.encoding_assets import STATISTICS, VOCABULARIES, NumericStatistics, dump_statistics
from pipeline.features import USER_ENTITY, AsOf, Features, MultiCategorical, Numeric
from pipeline.prepared_data import PARTS
from pipeline.records import record_specs
from pipeline.sampling import split_boundaries

Row = dict[str, Any]

_DAY, _HOUR = 86_400, 3_600
_PREVIOUS_PURCHASES = 20
_COUNTED = "reference"
_MASK = 2**64 - 1


def reference_preprocess(
    scenario: Scenario, input_path: str, output: str, *, pipeline_args: Sequence[str] = ()
) -> dict[str, int]:
    """Reads a search log, and writes records, vocabularies and statistics.

    Args:
        scenario: of the features that the module's text lists.
        input_path: the raw log's directory; a table is in Parquet or in JSON Lines.
        output: a directory; gets `<part>/*.tfrecord.gz`, `vocabularies/` and `statistics.json`.
        pipeline_args: Beam options, as for `pipeline.run.preprocess`.

    Returns:
        How many records each part has.
    """
    _refuse_unknown_kinds(scenario)
    (Path(output) / VOCABULARIES).mkdir(parents=True)
    pipeline = beam_pipeline(pipeline_args)
    _build(pipeline, scenario, input_path, output)
    result = pipeline.run()
    result.wait_until_finish()
    counters = result.metrics().query(MetricsFilter().with_namespace(_COUNTED))["counters"]
    found = {counter.key.metric.name: counter.committed for counter in counters}
    return {part: found.get(part, 0) for part in PARTS}


def _refuse_unknown_kinds(scenario: Scenario) -> None:
    if scenario.pipeline.source != "search_log" or scenario.pipeline.split.by != "time":
        raise ValueError("the reference reads a search log and splits it by time; use configs/search.yaml")
    if scenario.features.impression:
        raise ValueError("the reference reads no impressions; leave out `features.impression`")
    if unknown := [name for name, as_of in scenario.features.as_of.items() if as_of.measure == "age_days"]:
        raise ValueError(f"the reference computes no `age_days`, the measure of {', '.join(unknown)}")


def _build(pipeline: beam.Pipeline, scenario: Scenario, input_path: str, output: str) -> None:
    """Items by id, events and sessions by user, as-of times by entity, records, counts."""
    features = scenario.features
    items = AsDict(
        _read(pipeline, input_path, "items")
        | "KeyItems" >> beam.Map(lambda row: (row["item_id"], row))
        | "GroupItems" >> beam.GroupByKey()
        | "CleanItems" >> beam.Map(_clean_item, scenario)
    )
    events = _read(pipeline, input_path, "events") | "KnownEvents" >> beam.Filter(
        lambda event, known: event["item_id"] in known, items
    )
    sessions = (
        _read(pipeline, input_path, "sessions")
        | "KnownSessions"
        >> beam.Filter(lambda row, known: all(c["item_id"] in known for c in row["candidates"]), items)
        | "KeySessions" >> beam.Map(lambda row: (row["session_id"], row))
        | "GroupSessions" >> beam.GroupByKey()
        | "FirstOfEach" >> beam.MapTuple(lambda _, rows: next(iter(rows)))
    )
    boundaries = AsSingleton(
        sessions
        | "Hours" >> beam.Map(lambda row: row["time"] // _HOUR)
        | "CountHours" >> beam.combiners.Count.PerElement()
        | "AllHours" >> beam.combiners.ToDict()
        | "Boundaries" >> beam.Map(split_boundaries, scenario.pipeline.split)
    )
    tables = {"events": events, "sessions": sessions, "users": _read(pipeline, input_path, "users")}
    joined = (
        {name: rows | f"Key{name.title()}ByUser" >> beam.Map(_by_user) for name, rows in tables.items()}
        | "GroupByUser" >> beam.CoGroupByKey()
        | "JoinUser" >> beam.ParDo(_JoinUser(scenario), items, boundaries).with_outputs("pairs", main="sessions")
    )
    entity_times = AsDict(
        events
        | "TimesOfEntities" >> beam.FlatMap(_times_of_entities, items, _counts_of_items(features))
        | "GroupByEntity" >> beam.GroupByKey()
        | "SortTimes" >> beam.MapTuple(lambda key, times: (key, sorted(times)))
    )
    bought_with = AsDict(
        joined.pairs | "GroupByLowerItem" >> beam.GroupByKey() | "TimesOfPairs" >> beam.MapTuple(_times_of_pairs)
    )
    records = joined.sessions | "MakeRecord" >> beam.Map(_make_record, features, items, entity_times, bought_with)
    _write_records(records, features, output)
    _write_counts(records, features, output)


def _read(pipeline: beam.Pipeline, directory: str, table: str) -> beam.PCollection:
    """All rows of a table as dicts."""
    name = f"Read{table.title()}"
    if any(Path(directory).glob(f"{table}*.parquet")):
        return pipeline | name >> beam.io.ReadFromParquet(f"{directory}/{table}*.parquet")
    return (
        pipeline | name >> beam.io.ReadFromText(f"{directory}/{table}*.json*") | f"Parse{name}" >> beam.Map(json.loads)
    )


def _by_user(row: Row) -> tuple[str, Row]:
    return row["user_id"], row


def _clean_item(group: tuple[str, Iterable[Row]], scenario: Scenario) -> tuple[str, Row]:
    """What a record says of an item, and its hashes for the samples."""
    item_id, rows = group
    row = next(iter(rows))
    fields: Row = {}
    for name, declaration in scenario.features.item.items():
        value = row.get(declaration.column or name)
        fields[name] = value if isinstance(declaration, Numeric) else value or ""
    hashed = _hash_text(item_id, scenario.pipeline.seed)
    return item_id, {"fields": fields, **{purpose: _salted(hashed, purpose) for purpose in ("sample", "order")}}


class _JoinUser(beam.DoFn):
    """One user's events, sessions and profile to (part, joined session), and to `pairs` of items bought."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._profile = [f for f in scenario.features.user_features if f.as_of is None]
        self._counts = {f.name: f.as_of for f in scenario.features.user_features if f.as_of is not None}

    def process(
        self, group: tuple[str, dict[str, list[Row]]], items: Mapping[str, Row], boundaries: tuple[int, int]
    ) -> Iterator[tuple[str, Row] | beam.pvalue.TaggedOutput]:
        _, tables = group
        limits = self._scenario.pipeline.behaviors
        # What sorts first is a session's first behaviour: newest, purchases before clicks, lower item.
        purchases = sorted((-e["time"], 0, e["item_id"]) for e in tables["events"] if e["action"] == "purchase")
        clicks = sorted((-e["time"], 1, e["item_id"]) for e in tables["events"] if e["action"] == "click")
        histories = [
            (events, [event[0] for event in events], round(days * _DAY))
            for events, days in ((purchases, limits.purchase_days), (clicks, limits.click_days))
        ]
        times = {
            name: sorted(e["time"] for e in tables["events"] if as_of.action in (None, e["action"]))
            for name, as_of in self._counts.items()
        }
        profile = next(iter(tables["users"]), {})
        texts = {feature.name: [profile.get(feature.column) or ""] for feature in self._profile}
        for session in tables["sessions"]:
            now = session["time"]
            part = PARTS[bisect_right(boundaries, now)]
            candidates = _choose_candidates(self._scenario, session, items, sample=part == "train")
            if not candidates:
                continue
            counts = {name: [_count(times[name], as_of, now)] for name, as_of in self._counts.items()}
            joined = {
                "session": {name: value for name, value in session.items() if name != "candidates"},
                "candidates": candidates,
                "behaviors": _behaviors(histories, now, limits.max_behaviors),
                "user": texts | counts,
            }
            yield part, joined
        in_order = sorted((-negative_time, item) for negative_time, _, item in purchases)
        for one, other, when in _pair_events(in_order, round(limits.purchase_days * _DAY)):
            yield beam.pvalue.TaggedOutput("pairs", (min(one, other), (max(one, other), when)))


def _behaviors(
    histories: Iterable[tuple[list[tuple[int, int, str]], list[int], int]], now: int, longest: int
) -> list[tuple[int, int, str]]:
    """Events with `now - window <= time < now`, newest first; a history is its events, their times and a window."""
    found: list[tuple[int, int, str]] = []
    for events, negative_times, window in histories:
        first = bisect_right(negative_times, -now)
        found += events[first : min(bisect_right(negative_times, window - now), first + longest)]
    return sorted(found)[:longest]


def _count(times: Sequence[int], as_of: AsOf, now: int) -> float:
    """Events before `now`, within the window if there is one."""
    begin = 0 if as_of.window_days is None else bisect_left(times, now - round(as_of.window_days * _DAY))
    return float(bisect_left(times, now) - begin)


def _pair_events(purchases: Sequence[tuple[int, str]], window: int) -> Iterator[tuple[str, str, int]]:
    """The rule of co-purchases, of one user's purchases (time, item) in order.

    A purchase makes a pair event, at its own time, with each distinct other item among the user's
    previous 20 purchases, if that item's latest purchase among them is within the window.
    """
    for place, (time, item) in enumerate(purchases):
        latest = {other: when for when, other in purchases[max(0, place - _PREVIOUS_PURCHASES) : place]}
        for other, when in latest.items():
            if other != item and when >= time - window:
                yield item, other, time


def _choose_candidates(
    scenario: Scenario, session: Row, items: Mapping[str, Row], *, sample: bool
) -> list[tuple[str, bool]]:
    """Items with their labels, in the order of a hash; a sample of the negatives, and none without a positive."""
    settings = scenario.pipeline
    label: dict[str, bool] = {}
    for shown in session["candidates"]:
        item = shown["item_id"]
        label[item] = label.get(item, False) or bool(shown.get(settings.label))
    salt = _hash_text(session["session_id"], settings.seed) * 0xD1B54A32D192ED03
    if sample:
        positives = [item for item, positive in label.items() if positive]
        negatives = [item for item, positive in label.items() if not positive]
        negatives.sort(key=lambda item: _finish(items[item]["sample"] + salt & _MASK))
        chosen = positives + negatives[: math.floor(settings.negatives_per_positive * len(positives) + 0.5)]
    else:
        chosen = list(label)
    chosen.sort(key=lambda item: (_finish(items[item]["order"] + salt & _MASK), item))
    return [(item, label[item]) for item in chosen]


def _hash_text(text: str, seed: int) -> int:
    """The keyed hash of `pipeline.sampling.hash_texts`, of one text."""
    hashed = pd.util.hash_array(np.array([text], object), hash_key=f"{seed % 2**64:016x}", categorize=False)
    return int(hashed[0])


def _salted(hashed: int, purpose: str) -> int:
    """The first half of `pipeline.sampling.mix_hashes`, which is the same for all sessions."""
    salt = sum(ord(letter) << (8 * place) for place, letter in enumerate(purpose))
    return _finish(hashed + salt * 0x9E3779B97F4A7C15 & _MASK)


def _finish(mixed: int) -> int:
    mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EB & _MASK
    return mixed ^ (mixed >> 31)


def _counts_of_items(features: Features) -> dict[str, AsOf]:
    return {
        name: as_of
        for name, as_of in features.as_of.items()
        if as_of.measure == "count" and as_of.entity != USER_ENTITY
    }


def _times_of_entities(
    event: Row, items: Mapping[str, Row], counts: Mapping[str, AsOf]
) -> Iterator[tuple[tuple[str, str], int]]:
    """((feature, value of its entity), time) for each feature that counts the event."""
    for name, as_of in counts.items():
        entity = items[event["item_id"]]["fields"][as_of.entity]
        if entity and as_of.action in (None, event["action"]):
            yield (name, entity), event["time"]


def _times_of_pairs(lower: str, others: Iterable[tuple[str, int]]) -> tuple[str, dict[str, list[int]]]:
    """For each item of a higher id, when both were bought, sorted."""
    times: dict[str, list[int]] = {}
    for other, when in others:
        times.setdefault(other, []).append(when)
    for of_pair in times.values():
        of_pair.sort()
    return lower, times


def _make_record(
    element: tuple[str, Row],
    features: Features,
    items: Mapping[str, Row],
    entity_times: Mapping[tuple[str, str], list[int]],
    bought_with: Mapping[str, dict[str, list[int]]],
) -> tuple[str, dict[str, list[Any]]]:
    """(part, values of each record column)."""
    part, joined = element
    session, behaviors, candidates = (joined[name] for name in ("session", "behaviors", "candidates"))
    now = session["time"]
    record: dict[str, list[Any]] = {
        "session_id": [session["session_id"]],
        "user_id": [session["user_id"]],
        "time": [now],
        "behavior_count": [len(behaviors)],
        "candidate_count": [len(candidates)],
        "candidate_label": [float(label) for _, label in candidates],
        "behavior_action": ["click" if click else "purchase" for _, click, _ in behaviors],
        "behavior_age_days": [(now + negative_time) / _DAY for negative_time, _, _ in behaviors],
        **joined["user"],
    }
    of_behaviors = [items[item]["fields"] for _, _, item in behaviors]
    of_candidates = [items[item]["fields"] for item, _ in candidates]
    for name in features.item:
        record[f"behavior_{name}"] = [fields[name] for fields in of_behaviors]
        record[f"candidate_{name}"] = [fields[name] for fields in of_candidates]
    for name, as_of in _counts_of_items(features).items():
        keys = [(name, fields[as_of.entity]) for fields in of_candidates]
        record[f"candidate_{name}"] = [_count(entity_times.get(key, ()), as_of, now) for key in keys]
    distinct = {item for _, _, item in behaviors}
    for name, as_of in features.as_of.items():
        if as_of.measure == "bought_with":
            record[f"candidate_{name}"] = [_pairs_before(bought_with, item, distinct, now) for item, _ in candidates]
    for feature in features.query_features:
        value = session.get(feature.column) or ""
        if isinstance(feature.declaration, MultiCategorical) and isinstance(value, list):
            value = feature.declaration.separator.join(value)
        record[feature.name] = [value]
    return part, record


def _pairs_before(
    bought_with: Mapping[str, dict[str, list[int]]], candidate: str, behaviors: Iterable[str], now: int
) -> float:
    """How often the candidate was bought with the behaviours' items before `now`."""
    total = 0
    of_candidate = bought_with.get(candidate, {})
    for item in behaviors:
        times = of_candidate.get(item) if candidate < item else bought_with.get(item, {}).get(candidate)
        if times:
            total += bisect_left(times, now)
    return float(total)


def _write_records(records: beam.PCollection, features: Features, output: str) -> None:
    dtypes = {spec.name: spec.dtype for spec in record_specs(features)}
    examples = records | "MakeExample" >> beam.FlatMap(_make_example, dtypes).with_outputs(*PARTS)
    for part in PARTS:
        _ = examples[part] | f"Write/{part}" >> beam.io.WriteToTFRecord(
            f"{output}/{part}/part", file_name_suffix=".tfrecord.gz"
        )


def _make_example(
    element: tuple[str, dict[str, list[Any]]], dtypes: Mapping[str, str]
) -> Iterator[beam.pvalue.TaggedOutput]:
    """A serialised example, to the output of its part."""
    part, record = element
    Metrics.counter(_COUNTED, part).inc()
    feature = {}
    for name, values in record.items():
        if dtypes[name] == "string":
            feature[name] = tf.train.Feature(bytes_list=tf.train.BytesList(value=[v.encode() for v in values]))
        elif dtypes[name] == "float32":
            feature[name] = tf.train.Feature(float_list=tf.train.FloatList(value=values))
        else:
            feature[name] = tf.train.Feature(int64_list=tf.train.Int64List(value=values))
    example = tf.train.Example(features=tf.train.Features(feature=feature))
    yield beam.pvalue.TaggedOutput(part, example.SerializeToString())


def _write_counts(records: beam.PCollection, features: Features, output: str) -> None:
    """Vocabularies and statistics of the training part."""
    training = (
        records | "OnlyTraining" >> beam.Filter(lambda element: element[0] == "train") | "Records" >> beam.Values()
    )
    _ = (
        training
        | "Texts" >> beam.FlatMap(_texts, features)
        | "CountTexts" >> beam.combiners.Count.PerElement()
        | "KeyByTable" >> beam.MapTuple(lambda key, count: (key[0], (key[1], count)))
        | "GroupByTable" >> beam.GroupByKey()
        | "WriteVocabulary" >> beam.Map(_write_vocabulary, features, output)
    )
    _ = (
        training
        | "Numbers" >> beam.FlatMap(_numbers, features)
        | "Describe" >> beam.CombinePerKey(_MeanAndDeviation())
        | "AllStatistics" >> beam.combiners.ToDict()
        | "WriteStatistics" >> beam.Map(lambda found: (Path(output) / STATISTICS).write_text(dump_statistics(found)))
    )


def _texts(record: dict[str, list[Any]], features: Features) -> Iterator[tuple[str, str]]:
    """(table, value), each as often as it occurs."""
    for feature in features.encoded:
        declaration = feature.declaration
        if isinstance(declaration, Numeric):
            continue
        for value in record[feature.name]:
            for text in value.split(declaration.separator) if isinstance(declaration, MultiCategorical) else (value,):
                if text:
                    yield declaration.table, text


def _numbers(record: dict[str, list[Any]], features: Features) -> Iterator[tuple[str, float]]:
    """(statistic, value), log(1 + x) where declared."""
    for feature in features.encoded:
        if isinstance(feature.declaration, Numeric):
            for value in record[feature.name]:
                yield feature.statistic, math.log1p(value) if feature.declaration.log else value


def _write_vocabulary(group: tuple[str, Iterable[tuple[str, int]]], features: Features, output: str) -> None:
    table, counts = group
    least = features.tables[table].min_count
    values = [text for text, count in sorted(counts, key=lambda pair: (-pair[1], pair[0])) if count >= least]
    text = "".join(f"{value}\n" for value in values)
    (Path(output) / VOCABULARIES / f"{table}.txt").write_text(text, encoding="utf-8")


class _MeanAndDeviation(beam.CombineFn):
    """Numbers to `NumericStatistics`, by their count, sum and sum of squares."""

    def create_accumulator(self) -> tuple[int, float, float]:
        return 0, 0.0, 0.0

    def add_input(self, accumulator: tuple[int, float, float], value: float) -> tuple[int, float, float]:
        count, total, squares = accumulator
        return count + 1, total + value, squares + value * value

    def merge_accumulators(self, accumulators: Iterable[tuple[int, float, float]]) -> tuple[int, float, float]:
        counts, totals, squares = zip(*accumulators, strict=True)
        return sum(counts), sum(totals), sum(squares)

    def extract_output(self, accumulator: tuple[int, float, float]) -> NumericStatistics:
        count, total, squares = accumulator
        mean = total / count
        deviation = math.sqrt(max(squares / count - mean * mean, 0.0))
        return NumericStatistics(mean, deviation if deviation >= 1e-6 else 1.0)
