"""Writes a trained run as the next version of a served model."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from export.checks import check_graph, check_scores
from export.floors import check_floors
from export.random_sessions import random_sessions
from export.scenario_asset import write_scenario_asset
from export.score_difference import write_score_difference
from export.signatures import Tensors, save_signatures
from export.version_numbers import ROLLED_BACK, rolled_back_numbers, version_numbers
from export.warmup import replay_warmup, write_warmup
from model.dataset import broken_files_named, raw_dataset
from model.run_directory import Run
from pipeline.errors import InputError
from pipeline.prepared_data import PreparedData

_CHECKED_BATCHES = 4
_CHECKED_BATCH_SIZE = 64


def export(
    run: Run,
    output: Path,
    *,
    version: int | None = None,
    check_data: PreparedData | None = None,
    metrics_file: Path | None = None,
) -> Path:
    """Publishes `<output>/<model name>/<version>/`, checked, whole or not at all.

    A server takes every directory whose name is a number as a version, so the SavedModel
    is written and checked under a name that is none, and renamed last.

    Args:
        run: the trained model.
        output: directory of models; made if it is not there.
        version: default: one above the highest there, those taken back included.
        check_data: compares scores on its test sessions too, beside random ones.
        metrics_file: what `awmoe evaluate` wrote of this run; where the scenario has `export.floors`,
            these metrics must reach them. Where it is not there, `check_data` is evaluated.

    Returns:
        The version's directory.

    Raises:
        InputError: the model has no session gate, `check_data` was made with other features,
            a metric is below its floor, the version exists or was taken back, a check failed, or the
            directory cannot be written.
    """
    _refuse_gate_a_candidate(run)
    if check_data is not None:
        check_data.check_features(run.scenario)
    check_floors(run, metrics_file, check_data)
    directory = Path(output) / run.scenario.export.model_name
    try:
        directory.mkdir(parents=True, exist_ok=True)
        target = directory / str(version if version is not None else _next_version(directory))
        if target.exists():
            raise InputError(f"{target}: exists already, and a published version never changes; choose another version")
        if (taken_back := directory / f"{ROLLED_BACK}{target.name}").exists():
            raise InputError(f"{taken_back}: version {target.name} was taken back; choose another version")
        unfinished = directory / f".tmp-{target.name}-{uuid.uuid4().hex}"
        try:
            save_signatures(run, unfinished)
            write_scenario_asset(unfinished, run.scenario)
            check_graph(unfinished)
            write_score_difference(unfinished, check_scores(unfinished, run, _sessions(run, check_data)))
            write_warmup(unfinished, run)
            replay_warmup(unfinished)
            _sync(unfinished)
            unfinished.rename(target)
            _sync_one(directory)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    except OSError as error:
        raise InputError(f"{directory}: cannot be written: {error}") from error
    return target


def _refuse_gate_a_candidate(run: Run) -> None:
    model = run.scenario.model
    if not model.gate_per_candidate:
        return
    if model.name == "category_moe":
        key, remedy = f"model.category_gate.feature: {model.category_gate.feature}", "a query's category"
    else:
        key, remedy = "model.gate.context: target_item", "model.gate.context: query"
    raise InputError(
        f"scenario {run.scenario.name}: {key} computes a gate for each candidate, so no session gate can be "
        f"exported; train with {remedy}, which needs a feature under features.query"
    )


def _next_version(directory: Path) -> int:
    return max([*version_numbers(directory), *rolled_back_numbers(directory)], default=0) + 1


def _sessions(run: Run, check_data: PreparedData | None) -> Iterator[Tensors]:
    """Random sessions of several shapes, and the first test sessions."""
    features = run.scenario.features
    shapes = [(1, 1, 1), (8, 5, 12), (3, 50, 2)]
    for seed, (batch, behaviors, candidates) in enumerate(shapes):
        yield random_sessions(features, run.assets, batch=batch, behaviors=behaviors, candidates=candidates, seed=seed)
    if check_data is not None and (files := check_data.files("test")):
        with broken_files_named(files, features):
            yield from raw_dataset(files, features, batch_size=_CHECKED_BATCH_SIZE).take(_CHECKED_BATCHES)


def _sync(directory: Path) -> None:
    """Brings a directory's files to the disk: after a crash a version must not be there half."""
    for path in chain(directory.rglob("*"), [directory]):
        _sync_one(path)


def _sync_one(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
