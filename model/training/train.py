"""Training: prepared data to a run directory."""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import tensorflow as tf
from rich.table import Table

from model.dataset import broken_files_named, raw_dataset, session_dataset
from model.parameter_count import parameter_count
from model.run_directory import Run, new_run
from model.table_rows import table_rows
from model.training.candidate_weights import candidate_weights
from model.training.check_room import check_room
from model.training.checkpoints import Checkpoints
from model.training.code_version import code_version
from model.training.distribution import lost_workers_told, wait_for_workers
from model.training.few_shapes import few_shapes
from model.training.optimizer import optimizer
from model.training.projector import write_projector
from model.training.size_table import size_table
from model.training.table_size import table_sizes
from model.training.tensorboard_log import TENSORBOARD, TRAINING, TensorBoardLog
from model.training.training_directory import TrainingDirectory
from model.training.training_part import TrainingPart, training_part
from model.training.training_progress import TrainingProgress
from model.training.warm_start import WarmStart
from pipeline.config import Scenario, Training
from pipeline.encoding_assets import EncodingAssets
from pipeline.errors import InputError
from pipeline.prepared_data import PreparedData

History = dict[str, list[float]]
_UNREADABLE = (
    "put the file back from a copy to go on, or start anew: preprocess again, or --skip-corrupt --overwrite to train "
    "without the rest of the file"
)
_log = logging.getLogger(__name__)


def train(
    scenario: Scenario,
    data: PreparedData,
    run_directory: str | Path,
    *,
    warm_start: str | Path | None = None,
    overwrite: bool = False,
    skip_corrupt: bool = False,
    strategy: tf.distribute.Strategy | None = None,
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
        strategy: of `distribution_strategy`; default: one device. Every worker calls this with the same
            arguments, `data` and `run_directory` on a file system that they share; one of them, the chief, writes.
        verbose: as of Keras `fit`.
        callbacks: more of them for `fit`. One that sets `stop_training` ends the training; an epoch that it cuts short
            counts as one.
        tell: gets lines for a person: where the training continues or ends early, what is left out.
        show: gets the sizes of the embedding tables, before the training begins.
        tensorboard: write curves and embeddings for TensorBoard.

    Returns:
        Losses and metrics of every epoch, as in `history.json`.

    Raises:
        InputError: the directory is taken; the training part is empty, has no positives or is
            broken; there is no validation part to stop early by; the run to start from is none, or of another model;
            the embedding tables do not fit; a batch has fewer sessions than there are replicas; the loss is no
            longer finite; another worker was lost.
    """
    directory, code, training = TrainingDirectory(Path(run_directory), scenario), code_version(), scenario.training
    strategy = strategy or tf.distribute.get_strategy()
    chief = strategy.extended.should_checkpoint
    if warm_start is not None and Path(warm_start).resolve() == directory.path.resolve():
        raise InputError(f"{directory.path}: is the run that the training is to start from; name another directory")
    begun = directory.is_begun(overwrite=overwrite)
    data.check_features(scenario)
    if training.deterministic:
        tf.config.experimental.enable_op_determinism()
    part = training_part(data, "train", skip_corrupt=skip_corrupt, tell=tell)
    validation = training_part(data, "validation", skip_corrupt=skip_corrupt, tell=tell)
    warm = WarmStart.open(Path(warm_start), scenario, tell) if warm_start is not None else None
    of_data = data.assets(scenario.features)
    sizes = table_sizes(scenario, warm.grown_rows(of_data) if warm else table_rows(scenario.features, of_data))
    check_room(sizes, directory.path, continued=begun, from_run=warm.table_sizes if warm else [])
    source: dict[str, Any] = {"directory": str(data.directory), "fingerprint": _fingerprint(data, [part, validation])}
    if warm:
        source["warm_start"] = warm.origin
    if begun:
        directory.check_source(source)
    _check_trainable(training, part, validation, data.directory, strategy.num_replicas_in_sync)
    _check_positives(part, scenario, data.directory)

    with lost_workers_told(strategy):
        wait_for_workers(strategy)  # all have seen the directory as it was
        if chief:
            if not begun:
                directory.begin()
            directory.write_inputs(partial(warm.write_assets, of_data) if warm else of_data.copy_to, source)
        wait_for_workers(strategy)  # all read what the chief wrote
        run, checkpoints = _restored(
            directory, strategy, warm, math.ceil(part.sessions / training.batch_size), begun, tell
        )
        warm = None  # its tables are copied, and may be large
        parameters = parameter_count(run.model)
        if show and chief:
            show(size_table(sizes, parameters.dense))
        if training.xla:
            tell("XLA compiles the step for each shape of a batch, which may take minutes")
        logs = directory.path / TENSORBOARD if tensorboard else None
        _fit(run, part, validation, checkpoints, strategy, logs, callbacks, verbose)
        progress = checkpoints.progress
        if progress.epoch < training.epochs and progress.stops_early(training.early_stopping):
            tell(f"ended early: epoch {progress.best_epoch} was better than the {training.early_stopping} after it")
        if chief:
            checkpoints.load_best()
            if logs:
                write_projector(run.model, scenario.features, run.assets, logs / TRAINING)
            facts: dict[str, Any] = {
                "best_epoch": progress.best_epoch,
                "epochs": progress.epoch,
                "metrics": {name: values[progress.best_epoch - 1] for name, values in progress.history.items()},
                "sessions": part.sessions,
                "seconds": round(progress.seconds, 1),
                "parameters": parameters._asdict(),
                "data": {
                    "directory": str(data.directory),
                    "fingerprint": data.fingerprint(),
                    "days": data.days("train"),
                },
                "code": code,
            }
            if "warm_start" in source:
                facts["warm_start"] = source["warm_start"]
            if skip_corrupt:
                facts["skipped_sessions"] = {each.name: each.skipped for each in (part, validation)}
                left_out = f"{part.skipped:,} sessions of train, {validation.skipped:,} of validation"
                tell(f"left out of broken files: {left_out}")
            directory.finish(run.model, progress.history, facts)
        wait_for_workers(strategy)  # none says that it is complete before it is
    return progress.history


def _restored(
    directory: TrainingDirectory,
    strategy: tf.distribute.Strategy,
    warm: WarmStart | None,
    steps: int,
    begun: bool,
    tell: Callable[[str], object],
) -> tuple[Run, Checkpoints]:
    """The model as the directory's last checkpoint has it, or as a training begins; `steps` are an epoch's."""
    scenario, path = directory.scenario, directory.path
    assets = EncodingAssets.load(path, scenario.features)
    if warm:
        tell(f"{path}: {warm.describe(assets)}")

    def fresh() -> tuple[Run, Checkpoints]:
        run = _compiled_run(scenario, assets, steps, strategy, warm)
        chief = strategy.extended.should_checkpoint
        return run, Checkpoints(run.model, directory.checkpoints, steps, chief=chief)

    run, checkpoints = fresh()
    if not begun:
        return run, checkpoints
    some = bool(checkpoints.found())
    if checkpoints.restore(tell):
        tell(f"{path}: {_continues(checkpoints, scenario.training, steps)}")
    else:
        if some:
            tell(f"warning: {path}: has no checkpoint that can be read; the training starts anew")
        else:
            tell(f"{path}: was stopped before its first checkpoint; the training starts at its beginning")
        del run, checkpoints  # what they hold is of no use, and may be large
        run, checkpoints = fresh()
    wait_for_workers(strategy, checkpoints.progress.epoch * steps + checkpoints.progress.step)
    return run, checkpoints


def _fit(
    run: Run,
    part: TrainingPart,
    validation: TrainingPart,
    checkpoints: Checkpoints,
    strategy: tf.distribute.Strategy,
    logs: Path | None,
    callbacks: Sequence[tf.keras.callbacks.Callback],
    verbose: int | str,
) -> None:
    """Trains what the checkpoints' progress has not got yet."""
    training, progress, steps, chief = run.scenario.training, checkpoints.progress, checkpoints.steps, checkpoints.chief
    ids = partial(_session_ids, run, part)
    follow = [TrainingProgress(checkpoints, training.checkpoint_steps, ids, training.early_stopping)]
    if logs:
        follow.append(TensorBoardLog(logs, steps, progress.epoch * steps + progress.step, chief=chief))

    def fit(epochs: range, skip: int) -> None:
        run.model.fit(
            _distributed(strategy, run, part, epochs, skip),
            validation_data=_distributed(strategy, run, validation) if validation.sessions else None,
            validation_steps=math.ceil(validation.sessions / training.batch_size) if validation.sessions else None,
            initial_epoch=epochs.start,
            epochs=epochs.stop,
            steps_per_epoch=steps - skip,
            verbose=verbose if chief else 0,
            callbacks=[*follow, *callbacks],
        )

    files = part.files + validation.files
    with broken_files_named(files, run.scenario.features, _UNREADABLE):
        if progress.step:  # the rest of an epoch has fewer steps than Keras gives the others
            fit(range(progress.epoch, progress.epoch + 1), progress.step)
            if run.model.stop_training:
                return
        if progress.epoch < training.epochs and not progress.stops_early(training.early_stopping):
            fit(range(progress.epoch, training.epochs), 0)


def _distributed(
    strategy: tf.distribute.Strategy, run: Run, part: TrainingPart, epochs: range | None = None, skip: int = 0
) -> tf.data.Dataset:
    """Batches of which each replica gets its part; arguments as of `_dataset`."""

    def of_worker(context: tf.distribute.InputContext) -> tf.data.Dataset:
        replicas = context.num_replicas_in_sync
        each = replicas // context.num_input_pipelines
        own = range(context.input_pipeline_id * each, (context.input_pipeline_id + 1) * each)
        dataset = _dataset(run, part, epochs, skip, replicas, own)
        if run.scenario.training.xla:
            dataset = dataset.map(partial(few_shapes, features=run.scenario.features))
        return dataset

    return strategy.distribute_datasets_from_function(of_worker)


def _dataset(
    run: Run,
    part: TrainingPart,
    epochs: range | None = None,
    skip: int = 0,
    replicas: int = 1,
    own: range | None = None,
) -> tf.data.Dataset:
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
        replicas=replicas,
        own=own,
    )


def _session_ids(run: Run, part: TrainingPart, epoch: int, step: int) -> list[str]:
    (batch,) = _dataset(run, part, range(epoch, epoch + 1), step).take(1)
    return [name.decode() for name in batch["session_id"].numpy()]


def _compiled_run(
    scenario: Scenario, assets: EncodingAssets, steps: int, strategy: tf.distribute.Strategy, warm: WarmStart | None
) -> Run:
    tf.keras.utils.set_random_seed(scenario.training.seed)
    all_steps = scenario.training.epochs * steps
    with strategy.scope():
        run = new_run(scenario, assets)
        made = optimizer(run.model, scenario.training, all_steps, warm.steps if warm else 0)
        run.model.compile(optimizer=made, jit_compile=scenario.training.xla)
        if warm:
            warm.give_to(run)
    # A metric's result is that of all replicas already: Keras shall not add them up.
    run.model.distribute_reduction_method = "first"
    return run


def _continues(checkpoints: Checkpoints, training: Training, steps: int) -> str:
    progress, epochs = checkpoints.progress, training.epochs
    if progress.epoch == epochs or progress.stops_early(training.early_stopping):
        return "all epochs were trained; what is left is written"
    within = f", after step {progress.step:,} of {steps:,}" if progress.step else ""
    return f"continues at epoch {progress.epoch + 1} of {epochs}{within}"


def _fingerprint(data: PreparedData, parts: Sequence[TrainingPart]) -> str:
    """Tells data from other data and from the same in other files, whose order of sessions would be another."""
    files = [[str(Path(file).relative_to(data.directory)) for file in part.files] for part in parts]
    described = [data.fingerprint(), files, [part.records for part in parts]]
    return hashlib.sha256(json.dumps(described).encode()).hexdigest()[:16]


def _check_trainable(
    training: Training, part: TrainingPart, validation: TrainingPart, directory: Path, replicas: int
) -> None:
    if not part.sessions:
        raise InputError(f"{directory}: the training part has no sessions; preprocess a longer log")
    if training.early_stopping and not validation.sessions:
        raise InputError(
            f"training.early_stopping: goes by the validation part, and {directory} has no sessions in it; "
            "preprocess with a larger pipeline.split.validation, or leave it out"
        )
    if training.xla and replicas > 1:
        raise InputError("training.xla: is for one device; leave it out, or train with --strategy none")
    if training.batch_size < replicas:
        raise InputError(
            f"training.batch_size: is {training.batch_size}, of all replicas together, and there are {replicas} of "
            "them; give each at least one session"
        )


def _check_positives(part: TrainingPart, scenario: Scenario, directory: Path) -> None:
    with broken_files_named(part.files, scenario.features, _UNREADABLE):
        # Stops at the first positive: one batch, unless something is wrong.
        labels = raw_dataset(part.files, scenario.features, batch_size=256, records=part.records)
        labels = labels.map(lambda raw: raw["candidate_label"])
        if not any(tf.reduce_any(batch > 0) for batch in labels):
            raise InputError(
                f"{directory}: no candidate of the training part has a positive label; "
                "check pipeline.label and the log's clicks and purchases"
            )
