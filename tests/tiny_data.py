"""A tiny scenario and tiny prepared data, deterministic by seed, for tests of any layer.

Sessions are random, with two things planted: an item with an even number is bought five
times as often, so a few epochs of training lower the loss; and values outside the
vocabulary, missing values and users without behaviours all occur.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks.session_example import session_example
from pipeline.config import Scenario
from pipeline.encoding_assets import STATISTICS, VOCABULARIES, NumericStatistics, dump_statistics
from pipeline.features import Feature, MultiCategorical, Numeric
from pipeline.prepared_data import FORMAT, MANIFEST, PARTS, SCENARIO, PreparedData
from pipeline.scenario_file import dump_scenario, parse_scenario

VOCABULARY_SIZE = 12

_SCENARIO: dict[str, Any] = {
    "name": "tiny",
    "features": {
        "tables": {
            "item": {"oov_buckets": 2},
            "brand": {},
            "tag": {"hash_buckets": 8, "dimension": 3},
            "term": {},
            "age_group": {"dimension": 2},
            "action": {"dimension": 2},
        },
        "item": {
            "item_id": {"kind": "categorical", "table": "item"},
            "brand": {"kind": "categorical", "table": "brand"},
            "tags": {"kind": "multi_categorical", "table": "tag", "separator": "|", "max_values": 3},
            "price": {"kind": "numeric", "log": True},
            "rating": {"kind": "numeric", "optional": True},
            "weight": {"kind": "numeric", "buckets": 4, "optional": True},
        },
        "behavior": {
            "action": {"kind": "categorical", "table": "action"},
            "age_days": {"kind": "numeric", "log": True},
        },
        "query": {"terms": {"kind": "multi_categorical", "table": "term"}},
        "user": {"age_group": {"kind": "categorical", "table": "age_group"}},
        "as_of": {
            "item_purchases": {"entity": "item_id", "measure": "count", "action": "purchase"},
            "item_age": {"entity": "item_id", "measure": "age_days"},
            "activity": {"entity": "user", "measure": "count"},
        },
        "cross": {
            "same_item": {"kind": "match", "field": "item_id"},
            "same_brand": {"kind": "match", "field": "brand"},
            "price_ratio": {"kind": "ratio", "field": "price"},
        },
    },
    "model": {
        "embedding_dimension": 4,
        "hidden_layers": [8],
        "activation_layers": [8, 4],
        "experts": {"count": 3, "layers": [16, 8]},
        "gate": {"unit_layers": [8, 4]},
    },
    "training": {"batch_size": 16, "epochs": 2, "shuffle_buffer": 64},
    "evaluation": {
        "popularity": "item_purchases",
        "slices": [
            {"name": "few_behaviors", "max_behaviors": 2},
            {"name": "elderly", "feature": "user_age_group", "values": ["age_group_1"]},
        ],
    },
}


def tiny_scenario(**sections: dict[str, Any]) -> Scenario:
    """A scenario with every kind of feature and small layers.

    Args:
        sections: keys laid over a section of the file, for instance
            `model={"gate": {"context": "target_item"}}`.
    """
    raw = {**_SCENARIO, **{name: {**_SCENARIO.get(name, {}), **section} for name, section in sections.items()}}
    return parse_scenario(raw, "tiny scenario")


def category_scenario(**model: Any) -> Scenario:
    """The tiny scenario with four experts, whose query has a category and its parent.

    Args:
        model: keys laid over the section `model`; those of `experts` over its own.
    """
    features = tiny_scenario().features.model_dump(mode="json", exclude_defaults=True)
    features["tables"] |= {"category": {}, "parent": {"dimension": 3}}
    features["query"] |= {name: {"kind": "categorical", "table": name} for name in ("category", "parent")}
    experts = {"count": 4, "layers": [16, 8], **model.pop("experts", {})}
    return tiny_scenario(features=features, model={**_SCENARIO["model"], "experts": experts, **model})


def random_raw_sessions(
    scenario: Scenario, batch: int, behaviors: int, candidates: int, seed: int
) -> dict[str, np.ndarray]:
    """Sessions as a request holds them: every input of `score_items` but the gate.

    Session 0 has all behaviours and candidates, session 1 (where there is one) is of a user
    without behaviours, the rest have random counts. Positions beyond a count are "" and 0.

    Args:
        batch: sessions, `B`.
        behaviors: `T`, at least 1.
        candidates: `N`, at least 1.
    """
    rng = np.random.default_rng(seed)
    counts = {
        "behavior_count": rng.integers(0, behaviors, batch, endpoint=True),
        "candidate_count": rng.integers(min(2, candidates), candidates, batch, endpoint=True),
    }
    counts["behavior_count"][0], counts["candidate_count"][0] = behaviors, candidates
    counts["behavior_count"][1:2] = 0
    raw: dict[str, np.ndarray] = dict(counts)
    for feature in scenario.features.encoded:
        width = {"": None, "T": behaviors, "N": candidates}[feature.spec.axis]
        values = _random_values(feature, (batch,) if width is None else (batch, width), rng)
        if width is not None:
            real = np.arange(width) < counts[f"{feature.group}_count"][:, None]
            values = np.where(real, values, "" if values.dtype == object else np.float32(0))
        raw[feature.name] = values
    return raw


def write_tiny_data(directory: str | Path, scenario: Scenario, sessions: int = 64, seed: int = 0) -> PreparedData:
    """A complete prepared directory; every part has two files.

    Args:
        directory: made when it is not there.
        sessions: of the training part; the others have half as many.
    """
    directory = Path(directory)
    (directory / VOCABULARIES).mkdir(parents=True, exist_ok=True)
    for name, table in scenario.features.tables.items():
        if table.hash_buckets is None:
            values = "".join(f"{name}_{i}\n" for i in range(VOCABULARY_SIZE))
            (directory / VOCABULARIES / f"{name}.txt").write_text(values, encoding="utf-8")
    (directory / STATISTICS).write_text(dump_statistics(_statistics(scenario)), encoding="utf-8")
    (directory / SCENARIO).write_text(dump_scenario(scenario), encoding="utf-8")
    parts = {}
    for index, part in enumerate(PARTS):
        count = sessions if part == "train" else sessions // 2
        files = _write_part(directory, scenario, part, count, seed + index)
        parts[part] = {"sessions": count, "days": {"all": {"files": files}}}
    manifest = {"format": FORMAT, "latest": ".", "serving": ".", "parts": parts}
    (directory / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    return PreparedData.open(directory)


def _random_values(feature: Feature, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    declaration = feature.declaration
    if isinstance(declaration, Numeric):
        values = rng.integers(0, 100, shape).astype(np.float32)
        return np.where(rng.random(shape) < 0.2, np.float32("nan"), values) if declaration.optional else values
    # The last number is outside the vocabulary.
    numbers = rng.integers(0, VOCABULARY_SIZE, (*shape, 3), endpoint=True)
    words = np.char.add(f"{declaration.table}_", numbers.astype(str)).astype(object)
    if isinstance(declaration, MultiCategorical):
        return words[..., 0] + declaration.separator + words[..., 1] + declaration.separator + words[..., 2]
    return np.where(rng.random(shape) < 0.1, "", words[..., 0]) if feature.field != "item_id" else words[..., 0]


def _statistics(scenario: Scenario) -> dict[str, NumericStatistics]:
    statistics = {}
    for feature in scenario.features.encoded:
        if isinstance(feature.declaration, Numeric):
            inner = np.linspace(0, 100, (feature.declaration.buckets or 1) + 1)[1:-1]
            mean, std = (3.5, 1.0) if feature.declaration.log else (50.0, 29.0)
            statistics[feature.statistic] = NumericStatistics(mean, std, tuple(inner.tolist()))
    return statistics


def _write_part(directory: Path, scenario: Scenario, part: str, sessions: int, seed: int) -> list[str]:
    rng = np.random.default_rng(1000 + seed)
    raw = random_raw_sessions(scenario, sessions, behaviors=5, candidates=4, seed=seed)
    item_numbers = np.char.partition(raw["candidate_item_id"].astype(str), "_")[..., 2]
    even = np.isin(item_numbers, [str(i) for i in range(0, VOCABULARY_SIZE, 2)])
    raw["candidate_label"] = (rng.random(even.shape) < np.where(even, 0.75, 0.15)).astype(np.float32)
    raw["session_id"] = np.array([f"{part}_{i}" for i in range(sessions)], object)
    raw["user_id"] = np.array([f"user_{i}" for i in rng.integers(0, max(sessions // 2, 1), sessions)], object)
    raw["time"] = np.arange(sessions) + 1_700_000_000
    (directory / part).mkdir(exist_ok=True)
    names = [f"{part}/sessions-{i:05d}-of-00002.tfrecord.gz" for i in range(2)]
    for index, name in enumerate(names):
        with tf.io.TFRecordWriter(str(directory / name), options="GZIP") as writer:
            for row in range(index, sessions, 2):
                writer.write(session_example(scenario.features, raw, row))
    return names
