"""Runs a source alone and gives what it made, for tests."""

from __future__ import annotations

import pickle
import uuid
from collections.abc import Callable, Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from pipeline.config import Scenario
from pipeline.counters import read_counters
from pipeline.raw_tables import RawTables


def run_source(
    read: Callable[..., RawTables], directory: str | Path, scenario: Scenario, output: Path
) -> tuple[dict[str, list[Any]], dict[str, int]]:
    """The elements of each of the source's PCollections, and its counters.

    Args:
        output: an empty directory, for what leaves the runner.
    """
    pipeline = beam.Pipeline(runner=FnApiRunner())
    raw = read(pipeline, str(directory), scenario)
    tables = [field.name for field in fields(RawTables)]
    for table in tables:
        (output / table).mkdir(parents=True)
        getattr(raw, table) | f"Save{table.title()}" >> beam.Map(_save, str(output / table))
    result = pipeline.run()
    result.wait_until_finish()
    elements = {table: [pickle.loads(path.read_bytes()) for path in (output / table).iterdir()] for table in tables}
    return elements, read_counters(result)


def rows_of(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> list[dict[str, Any]]:
    """The rows of batches, which all have this schema."""
    batches = list(batches)
    for batch in batches:
        assert batch.schema.equals(schema), f"{batch.schema}\nis not\n{schema}"
    return [row for batch in batches for row in batch.to_pylist()]


def _save(element: Any, directory: str) -> None:
    """Elements cannot leave the runner by memory: each becomes a file."""
    Path(directory, uuid.uuid4().hex).write_bytes(pickle.dumps(element))
