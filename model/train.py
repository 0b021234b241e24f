"""Training: prepared data to a run directory."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
from rich.table import Table

from model.candidate_weights import candidate_weights
from model.check_room import check_room
from model.checkpoints import Checkpoints
from model.code_version import code_version
from model.dataset import broken_files_named, raw_dataset, session_dataset
from model.optimizer import optimizer
from model.optimizer_state import OptimizerState
from model.parameter_count import parameter_count
from model.projector import write_projector
from model.run_directory import CHECKPOINTS, HISTORY, MARKER, SCENARIO, Run, new_run, save_weights
from model.size_table import size_table
from model.table_rows import table_rows
from model.table_size import table_sizes
from model.tensorboard_log import TENSORBOARD, TRAINING, TensorBoardLog
from model.training_part import TrainingPart, training_part
from model.training_progress import TrainingProgress
from model.warm_start import WarmStart
from pipeline.config import Scenario, Training, dump_scenario, load_scenario
from pipeline.encoding_assets import VOCABULARIES, EncodingAssets
from pipeline.errors import InputError
from pipeline.features import Features
from pipeline.prepared_data import MANIFEST, PreparedData
from pipeline.setting_difference import setting_difference

History = dict[str, list[float]]
#: In the checkpoints' directory: what the training reads, and the run that it starts from.
_DATA = "data.json"
_UNREADABLE = "preprocess again, or train without the rest of the file: --skip-corrupt --overwrite"
_log = logging.getLogger(__name__)


def train(
    scenario: Scenario,
    data: PreparedData,
    run_directory: str | Path,
    *,
    warm_start: str | Path | None = None,
    overwrite: bool = False,
    skip_corrupt: bool = False,
    verbose: int | str = "auto",
    callbacks: Sequence[tf.keras.callbacks.Callback] = (),
    tell: Callable[[str], object] = _log.warning,
    show: Callable[[Table], object] | None = None,
    tensorboard: bool = True,
) -> History:
    """Trains with Keras `fit` and writes the weights of the epoch with the best validation session AUC.

    Without a validation part it is the last epoch. With `training.early_stopping` it ends when epochs are no better.

    A training of the same scenario and data that was interrupted is continued from its last checkpoint,
    and gives what it would have given without the interruption.

    Args:
        data: made with the same features as `scenario` has.
        run_directory: must be empty or new, or hold a training that is not complete.
        warm_start: directory of a run, from whose weights and optimizer the training starts.
        overwrite: replace a run or a training that is there.
        skip_corrupt: leave out what cannot be read of a broken file, and count it.
        verbose: as of Keras `fit`.
        callbacks: more of them for `fit`.
        tell: gets lines for a person: where the training continues or ends early, what is left out.
        show: gets the sizes of the embedding tables, before the training begins.
        tensorboard: write curves and embeddings for TensorBoard.

    Returns:
        Losses and metrics of every epoch, as in `history.json`.

    Raises:
        InputError: the directory is taken; the training part is empty, has no positives or is
            broken; there is no validation part to stop early by; the run to start from is none, or of another model;
            the embedding tables do not fit; the loss is no longer finite.
    """
    directory, code = Path(run_directory), code_version()
    if warm_start is not None and Path(warm_start).resolve() == directory.resolve():
        raise InputError(f"{directory}: is the run that the training is to start from; name another directory")
    begun = _begun(directory, scenario, overwrite)
    data.check_features(scenario)
    training = scenario.training
    if training.deterministic:
        tf.config.experimental.enable_op_determinism()
    part = training_part(data, "train", skip_corrupt=skip_corrupt, tell=tell)
    validation = training_part(data, "validation", skip_corrupt=skip_corrupt, tell=tell)
    warm = WarmStart.open(Path(warm_start), scenario, tell) if warm_start is not None else None
    source: dict[str, Any] = {"directory": str(data.directory), "fingerprint": _fingerprint(data, [part, validation])}
    if warm:
        source["warm_start"] = warm.origin
    if begun:
        _check_same_source(directory, source)
    _check_positives(part, scenario, data.directory)
    if training.early_stopping and not validation.sessions:
        raise InputError(
            f"training.early_stopping: goes by the validation part, and {data.directory} has no sessions in it; "
            "preprocess with a larger pipeline.split.validation, or leave it out"
        )
    of_data = data.assets(scenario.features)
    sizes = table_sizes(scenario, warm.table_rows(of_data) if warm else table_rows(scenario.features, of_data))
    check_room(sizes, directory, continued=begun)

    steps = math.ceil(part.sessions / training.batch_size)
    if not begun:
        _empty(directory, scenario)
    assets = _write_inputs(directory, data, scenario.features, warm, source, tell)
    run = _compiled_run(scenario, assets, steps, warm)
    parameters = parameter_count(run.model)
    if show:
        show(size_table(sizes, parameters.dense))
    checkpoints = Checkpoints(run.model, directory / CHECKPOINTS, steps)
    if begun and not checkpoints.restore(tell):
        tell(f"warning: {directory}: has no checkpoint that can be read; the training starts anew")
        run = _compiled_run(scenario, assets, steps, warm)
        checkpoints = Checkpoints(run.model, directory / CHECKPOINTS, steps)
    elif begun:
        tell(f"{directory}: {_continues(checkpoints, training, steps)}")

    warm = None  # its tables are copied, and may be large
    progress = checkpoints.progress
    follow: list[tf.keras.callbacks.Callback] = [
        TrainingProgress(
            checkpoints,
            steps,
            training.checkpoint_steps,
            lambda epoch, step: _batch_name(run, part, epoch, step),
            training.early_stopping,
        )
    ]
    if tensorboard:
        follow.append(TensorBoardLog(directory / TENSORBOARD, steps, progress.epoch * steps + progress.step))

    def fit(epochs: range, skip: int) -> None:
        run.model.fit(
            _dataset(run, part, epochs, skip),
            validation_data=_dataset(run, validation) if validation.sessions else None,
            initial_epoch=epochs.start,
            epochs=epochs.stop,
            steps_per_epoch=steps - skip,
            verbose=verbose,
            callbacks=[*follow, *callbacks],
        )

    with broken_files_named(part.files + validation.files, scenario.features, _UNREADABLE):
        if progress.step:  # the rest of an epoch has fewer steps than Keras gives the others
            fit(range(progress.epoch, progress.epoch + 1), progress.step)
        if progress.epoch < training.epochs and not progress.stops_early(training.early_stopping):
            fit(range(progress.epoch, training.epochs), 0)
    if progress.epoch < training.epochs:
        tell(f"ended early: the {training.early_stopping} epochs after epoch {progress.best_epoch} were no better")

    checkpoints.load_best()
    save_weights(run.model, directory)
    if tensorboard:
        write_projector(run.model, scenario.features, run.assets, directory / TENSORBOARD / TRAINING)
    OptimizerState.of(run.model.optimizer).save(directory)
    (directory / HISTORY).write_text(json.dumps(progress.history, indent=2) + "\n", encoding="utf-8")
    marker: dict[str, Any] = {
        "best_epoch": progress.best_epoch,
        "epochs": progress.epoch,
        "metrics": {name: values[progress.best_epoch - 1] for name, values in progress.history.items()},
        "sessions": part.sessions,
        "seconds": round(progress.seconds, 1),
        "parameters": parameters._asdict(),
        "data": {"directory": str(data.directory), "fingerprint": data.fingerprint()},
        "code": code,
    }
    if "warm_start" in source:
        marker["warm_start"] = source["warm_start"]
    if skip_corrupt:
        marker["skipped_sessions"] = {each.name: each.skipped for each in (part, validation)}
        tell(f"left out of broken files: {part.skipped:,} sessions of train, {validation.skipped:,} of validation")
    (directory / MARKER).write_text(json.dumps(marker, indent=2) + "\n", encoding="utf-8")
    shutil.rmtree(directory / CHECKPOINTS)
    return progress.history


def _dataset(run: Run, part: TrainingPart, epochs: range | None = None, skip: int = 0) -> tf.data.Dataset:
    """Shuffled batches of the epochs; without epochs all batches as they come."""
    training = run.scenario.training
    return session_dataset(
        part.files,
        run.scenario.features,
        run.preprocessing,
        batch_size=training.batch_size,
        sessions=part.sessions,
        records=part.records,
        shuffle_buffer=training.shuffle_buffer if epochs else None,
        seed=training.seed,
        epochs=epochs or range(1),
        skip=skip,
        weigh=candidate_weights(training),
    )


def _batch_name(run: Run, part: TrainingPart, epoch: int, step: int) -> str:
    (batch,) = _dataset(run, part, range(epoch, epoch + 1), step).take(1)
    ids = [name.decode() for name in batch["session_id"].numpy()[:3]]
    return f"a batch of {len(batch['session_id'])} sessions: {', '.join(ids)}, ..."


def _compiled_run(scenario: Scenario, assets: EncodingAssets, steps: int, warm: WarmStart | None) -> Run:
    tf.keras.utils.set_random_seed(scenario.training.seed)
    run = new_run(scenario, assets)
    all_steps = scenario.training.epochs * steps
    run.model.compile(optimizer=optimizer(run.model, scenario.training, all_steps, warm.steps if warm else 0))
    if warm:
        warm.give_to(run)
    return run


def _continues(checkpoints: Checkpoints, training: Training, steps: int) -> str:
    progress, epochs = checkpoints.progress, training.epochs
    if progress.epoch == epochs or progress.stops_early(training.early_stopping):
        return "all epochs were trained; what is left is written"
    within = f", after step {progress.step:,} of {steps:,}" if progress.step else ""
    return f"continues at epoch {progress.epoch + 1} of {epochs}{within}"


def _begun(directory: Path, scenario: Scenario, overwrite: bool) -> bool:
    """Whether the directory holds a training of the scenario that is to be continued.

    Raises:
        InputError: it holds something else, or must not be overwritten.
    """
    if taken := [path for path in (directory, *directory.parents) if path.exists() and not path.is_dir()]:
        raise InputError(f"{taken[0]}: is a file; name a new directory for the run")
    if not directory.exists() or not any(directory.iterdir()):
        return False
    # prepared data has a scenario too, and vocabularies that a run would replace
    holds_run = (directory / SCENARIO).exists() and not (directory / MANIFEST).exists()
    if overwrite:
        if not holds_run:
            raise InputError(f"{directory}: is not empty and holds no run; it will not be overwritten")
        return False
    if not holds_run or (directory / MARKER).exists():
        raise InputError(f"{directory}: is not empty; name a new directory, or overwrite the run with --overwrite")
    made = load_scenario(directory / SCENARIO)
    if dump_scenario(made) != dump_scenario(scenario):
        difference = setting_difference(made.model_dump(), scenario.model_dump()) or "its keys in another order"
        raise InputError(
            f"{directory}: holds a training that is not complete, with {difference}; give the same to continue it, or "
            "start anew with --overwrite"
        )
    return True


def _check_same_source(directory: Path, source: Mapping[str, Any]) -> None:
    """Checks that the training goes on with the data, and from the run, that it began with."""
    path = directory / CHECKPOINTS / _DATA
    if not path.exists():  # stopped before it began
        return
    before = json.loads(path.read_text(encoding="utf-8"))
    if before["fingerprint"] != source["fingerprint"]:
        raise InputError(
            f"{directory}: holds a training that is not complete, begun on other sessions or files "
            f"({before['directory']}) than {source['directory']} gives now; give the same data, and --skip-corrupt as "
            "before, to continue it, or start anew with --overwrite"
        )
    old, new = (each.get("warm_start", {"run": "fresh weights", "weights": None}) for each in (before, source))
    if old["weights"] != new["weights"]:
        named = f"other weights of {new['run']}" if old["run"] == new["run"] else f"{old['run']}, not {new['run']}"
        raise InputError(
            f"{directory}: holds a training that is not complete, begun from {named}; give the same --warm-start to "
            "continue it, or start anew with --overwrite"
        )


def _fingerprint(data: PreparedData, parts: Sequence[TrainingPart]) -> str:
    """Tells data from other data and from the same in other files, whose order of sessions would be another."""
    files = [[str(Path(file).relative_to(data.directory)) for file in part.files] for part in parts]
    described = [data.fingerprint(), files, [part.records for part in parts]]
    return hashlib.sha256(json.dumps(described).encode()).hexdigest()[:16]


def _check_positives(part: TrainingPart, scenario: Scenario, directory: Path) -> None:
    if not part.sessions:
        raise InputError(f"{directory}: the training part has no sessions; preprocess a longer log")
    with broken_files_named(part.files, scenario.features, _UNREADABLE):
        # Stops at the first positive: one batch, unless something is wrong.
        labels = raw_dataset(part.files, scenario.features, batch_size=256, records=part.records)
        labels = labels.map(lambda raw: raw["candidate_label"])
        if not any(tf.reduce_any(batch > 0) for batch in labels):
            raise InputError(
                f"{directory}: no candidate of the training part has a positive label; "
                "check pipeline.label and the log's clicks and purchases"
            )


def _empty(directory: Path, scenario: Scenario) -> None:
    """A run that was there is no longer complete, and the directory is one that this scenario's training began."""
    for name in (CHECKPOINTS, TENSORBOARD):
        shutil.rmtree(directory / name, ignore_errors=True)
    (directory / MARKER).unlink(missing_ok=True)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / SCENARIO).write_text(dump_scenario(scenario), encoding="utf-8")


def _write_inputs(
    directory: Path,
    data: PreparedData,
    features: Features,
    warm: WarmStart | None,
    source: Mapping[str, Any],
    tell: Callable[[str], object],
) -> EncodingAssets:
    """What the model takes from the data, and which data that is; a training that is continued writes the same."""
    shutil.rmtree(directory / VOCABULARIES, ignore_errors=True)
    if warm:
        tell(f"{directory}: {warm.write_assets(data.assets(features), directory)}")
    else:
        data.assets(features).copy_to(directory)
    (directory / CHECKPOINTS).mkdir(exist_ok=True)
    partial = directory / CHECKPOINTS / f"{_DATA}.partial"
    partial.write_text(json.dumps(source, indent=2) + "\n", encoding="utf-8")
    partial.replace(directory / CHECKPOINTS / _DATA)
    return EncodingAssets.load(directory, features)
