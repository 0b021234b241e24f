"""Prepared directories of simple random sessions that hold all a validation reads, and no records."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from google.protobuf import text_format

from pipeline.config import Scenario
from pipeline.data_statistics import STATISTICS_FILE, data_statistics, dump_data_statistics
from pipeline.prepared_data import FORMAT, MANIFEST, PARTS, SCENARIO, SCHEMA, PreparedData
from pipeline.records import record_schema
from pipeline.scenario_file import dump_scenario, parse_scenario
from pipeline.value_counts import add_counts, count_columns

FEATURES: dict[str, Any] = {
    "tables": {"item": {}, "brand": {}, "term": {}},
    "item": {
        "item_id": {"kind": "categorical", "table": "item"},
        "brand": {"kind": "categorical", "table": "brand"},
        "price": {"kind": "numeric", "optional": True},
    },
    "query": {"terms": {"kind": "multi_categorical", "table": "term"}},
}


def scenario_of(features: dict[str, Any] = FEATURES, /, **validation: Any) -> Scenario:
    """A scenario with a section `validation`; parts of 50 sessions are large enough unless it says otherwise."""
    validation = {"fewest_sessions": 50, **validation}
    return parse_scenario({"name": "compared", "features": features, "validation": validation}, "scenario")


def random_records(
    sessions: int = 600,
    *,
    seed: int = 0,
    brands: tuple[str, ...] = ("b0", "b1", "b2", "b3"),
    positives: float = 0.3,
    missing_prices: float = 0.05,
    behaviors: int = 4,
    price: float = 20.0,
    brand_column: str = "brand",
) -> pa.RecordBatch:
    """Records of sessions with 5 candidates and 0 to 2 * `behaviors` behaviours."""
    draw = np.random.default_rng(seed)
    counts = {"behavior": draw.integers(0, 2 * behaviors, sessions, endpoint=True), "candidate": np.full(sessions, 5)}

    def lists(group: str, values: np.ndarray, dtype: pa.DataType) -> pa.Array:
        offsets = pa.array(np.append(0, np.cumsum(counts[group])), pa.int32())
        return pa.ListArray.from_arrays(offsets, pa.array(values, dtype))

    columns: dict[str, pa.Array] = {}
    for group in counts:
        number = int(counts[group].sum())
        columns[f"{group}_count"] = pa.array(counts[group][:, None].tolist(), pa.list_(pa.int64()))
        columns[f"{group}_item_id"] = lists(
            group, np.char.add("i", draw.integers(0, 30, number).astype(str)), pa.string()
        )
        columns[f"{group}_{brand_column}"] = lists(group, draw.choice(brands, number), pa.string())
        prices = np.where(draw.random(number) < missing_prices, np.nan, draw.gamma(2, price, number))
        columns[f"{group}_price"] = lists(group, prices, pa.float32())
    columns["candidate_label"] = lists("candidate", draw.random(5 * sessions) < positives, pa.bool_()).cast(
        pa.list_(pa.float32())
    )
    columns["query_terms"] = pa.array([[f"red q{n}"] for n in draw.integers(0, 9, sessions)])
    return pa.RecordBatch.from_pydict(columns)


def write_prepared(directory: Path, scenario: Scenario, parts: dict[Any, pa.RecordBatch]) -> PreparedData:
    """A prepared directory of these records; parts that are not given are empty."""
    counts = {
        part: {name: add_counts([batch]) for name, batch in count_columns(scenario.features, records)}
        for part, records in parts.items()
    }
    directory.mkdir(parents=True)
    statistics = dump_data_statistics(data_statistics(scenario.features, counts))
    (directory / STATISTICS_FILE).write_bytes(statistics)
    (directory / SCHEMA).write_text(text_format.MessageToString(record_schema(scenario.features)), encoding="utf-8")
    (directory / SCENARIO).write_text(dump_scenario(scenario), encoding="utf-8")
    described: dict[str, Any] = {
        part: {"days": {}, "sessions": parts[part].num_rows if part in parts else 0} for part in PARTS
    }
    manifest = {"format": FORMAT, "latest": ".", "serving": ".", "parts": described}
    (directory / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    return PreparedData.open(directory)
