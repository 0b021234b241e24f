"""The shuffle: the same groups in memory and through files, however the batches come."""

from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that, equal_to

from pipeline.steps import group_batches
from pipeline.steps.group_batches import GroupBatches


def batch(*numbers: int) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({"number": pa.array(numbers, pa.int64())})


def rows(element: tuple[str, dict[str, list[pa.RecordBatch]]]) -> tuple[str, dict[str, list[int]]]:
    key, tables = element
    return key, {name: sorted(n for b in batches for n in b["number"].to_pylist()) for name, batches in tables.items()}


@pytest.mark.parametrize("spilled", [False, True])
@pytest.mark.parametrize("joined_bytes", [0, 24, 2**20])
def test_groups_hold_all_rows_of_a_key(
    spilled: bool, joined_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_batches, "_JOINED_BYTES", joined_bytes)
    pairs: dict[str, list[Any]] = {
        "one": [("a", batch(1, 2)), ("b", batch(3)), ("a", batch(4)), ("a", batch(5, 6, 7).slice(1, 1))],
        "two": [("a", batch(8)), ("c", batch(9))],
    }
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        tables = {
            name: pipeline | f"Make {name}" >> beam.Create(made).with_output_types(tuple[str, pa.RecordBatch])
            for name, made in pairs.items()
        }
        groups = tables | GroupBatches(str(tmp_path) if spilled else None) | beam.Map(rows)
        expected = [
            ("a", {"one": [1, 2, 4, 6], "two": [8]}),
            ("b", {"one": [3], "two": []}),
            ("c", {"one": [], "two": [9]}),
        ]
        assert_that(groups, equal_to(expected))
    assert bool(list(tmp_path.glob("*.arrow"))) == spilled


def test_batches_of_one_key_may_have_different_columns(tmp_path: Path) -> None:
    other = pa.RecordBatch.from_pydict({"text": ["x"]})
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        made = pipeline | beam.Create([("a", batch(1)), ("a", other), ("a", batch(2))]).with_output_types(
            tuple[str, pa.RecordBatch]
        )
        groups = {"table": made} | GroupBatches(str(tmp_path))
        found = groups | beam.MapTuple(lambda _, tables: sorted(b.to_pydict().popitem() for b in tables["table"]))
        assert_that(found, equal_to([[("number", [1, 2]), ("text", ["x"])]]))
