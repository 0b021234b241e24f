"""Runs the job: prepared sessions and an exported model in, Parquet files of scores out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import tensorflow as tf
from apache_beam.io import WriteToParquetBatched
from apache_beam.ml.inference.base import RunInference

from export.scenario_asset import read_scenario_asset
from pipeline.beam_pipeline import beam_pipeline
from pipeline.counters import count, read_counters
from pipeline.errors import InputError
from pipeline.folder import Folder, io_reason
from pipeline.prepared_data import Part, PreparedData
from pipeline.run_pipeline import run_pipeline
from scoring.metric_sums import add_sums, metric_means, metric_sums
from scoring.session_scorer import SCORES, SessionScorer

#: Written last: a directory without it is not complete. Readers of a directory of Parquet files skip such names.
SUMMARY = "_summary.json"
_METRICS = "_metrics.json"
#: Batches of sessions in one row group of a file.
_BATCHES = 32


def score(
    version_directory: Path,
    data: PreparedData,
    output: str,
    *,
    part: Part = "test",
    pipeline_args: Sequence[str] = (),
) -> dict[str, Any]:
    """Scores all candidates of a part's sessions with an exported model.

    Args:
        version_directory: `<models>/<model name>/<version>/`, as `awmoe export` writes it.
        data: the prepared sessions.
        output: a directory on any file system that Beam knows, new or empty; gets `scores-*.parquet`,
            rows of `SCORES`, `_metrics.json` and, last, `_summary.json`.
        part: which sessions.
        pipeline_args: Beam options; without a `--runner` the job runs in this process.

    Returns:
        The summary: what was scored with what, how many sessions and candidates, and the metrics of `awmoe evaluate`
        that are means over sessions.

    Raises:
        InputError: the model or the data cannot be used, they do not belong together, or `output` is taken.
    """
    version_directory = Path(version_directory).resolve()
    scenario = read_scenario_asset(version_directory)
    data.check_features(scenario)
    if not data.sessions(part):
        raise InputError(f"{data.directory}: the part `{part}` has no sessions to score")
    files = [str(Path(file).resolve()) for file in data.files(part)]
    pipeline = beam_pipeline(pipeline_args)  # first: its options say how file systems are reached
    folder = _empty_folder(output)

    tables = (
        pipeline
        | "name the files" >> beam.Create(files)
        | "deal files out" >> beam.Reshuffle()
        | "read sessions" >> beam.FlatMap(_records)
        | "score" >> RunInference(SessionScorer(version_directory, scenario.features))
        | "count" >> beam.Map(_count)
    )
    _ = (
        tables
        | "gather batches" >> beam.BatchElements(min_batch_size=_BATCHES, max_batch_size=_BATCHES)
        | "join batches" >> beam.Map(_joined)
        | "write scores"
        >> WriteToParquetBatched(f"{folder.path}/scores", SCORES, codec="zstd", file_name_suffix=".parquet")
    )
    _ = (
        tables
        | "measure" >> beam.Map(metric_sums)
        | "add up" >> beam.CombineGlobally(add_sums)
        | "write metrics" >> beam.Map(_write_metrics, folder)
    )
    counters = read_counters(run_pipeline(pipeline))
    if (scored := counters.get("scored/sessions", 0)) != data.sessions(part):
        raise InputError(
            f"{data.directory}: its files hold {scored:,} sessions of `{part}`, and its manifest says "
            f"{data.sessions(part):,}; preprocess again"
        )
    summary = {
        "model": str(version_directory),
        "data": str(data.directory),
        "data_fingerprint": data.fingerprint(),
        "part": part,
        "sessions": scored,
        "candidates": counters["scored/candidates"],
        "metrics": json.loads(folder.read(_METRICS)),
    }
    folder.write(SUMMARY, (json.dumps(summary, indent=2) + "\n").encode())
    return summary


def _empty_folder(output: str) -> Folder:
    folder = Folder.at(output)
    try:
        taken = folder.files()
        folder.make()
    except (OSError, ValueError) as error:
        raise InputError(f"{output}: cannot be written: {io_reason(error)}") from None
    if taken:
        what = "holds scores already" if SUMMARY in taken else "is not empty"
        raise InputError(f"{output}: {what}; choose another output, or delete it first")
    return folder


def _records(file: str) -> Iterator[bytes]:
    """A file's serialized sessions. Beam's own reader would take characters of the path for a pattern."""
    try:
        yield from tf.data.TFRecordDataset(file, compression_type="GZIP").as_numpy_iterator()
    except tf.errors.OpError as error:
        reason = str(error.message).strip().splitlines()[0]
        raise InputError(f"{file}: broken ({reason}); preprocess again") from None


def _count(scores: pa.Table) -> pa.Table:
    count("scored/sessions", int(np.count_nonzero(scores["position"].to_numpy() == 0)))
    count("scored/candidates", len(scores))
    return scores


def _joined(batches: list[pa.Table]) -> pa.Table:
    return pa.concat_tables(batches)


def _write_metrics(sums: np.ndarray, folder: Folder) -> None:
    folder.write(_METRICS, (json.dumps(metric_means(sums), indent=2) + "\n").encode())
