"""Training: prepared data to a run directory."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import tensorflow as tf

from model.checkpoints import Checkpoints
from model.dataset import broken_files_named, raw_dataset, session_dataset
from model.distribution import wait_for_workers
from model.optimizer import optimizer
from model.run_directory import CHECKPOINTS, HISTORY, MARKER, SCENARIO, Run, new_run, save_weights
from model.training_part import TrainingPart, training_part
from model.training_progress import TrainingProgress
from pipeline.config import Scenario, dump_scenario, load_scenario
from pipeline.encoding_assets import VOCABULARIES
from pipeline.errors import InputError
from pipeline.prepared_data import MANIFEST, PreparedData
from pipeline.setting_difference import setting_difference

History = dict[str, list[float]]
#: In the checkpoints' directory: what the training reads.
_DATA = "data.json"
_UNREADABLE = "preprocess again, or train without the rest of the file: --skip-corrupt --overwrite"
_log = logging.getLogger(__name__)


def train(
    scenario: Scenario,
    data: PreparedData,
    run_directory: str | Path,
    *,
    overwrite: bool = False,
    skip_corrupt: bool = False,
    strategy: tf.distribute.Strategy | None = None,
    verbose: int | str = "auto",
    callbacks: Sequence[tf.keras.callbacks.Callback] = (),
    tell: Callable[[str], object] = _log.warning,
) -> History:
    """Trains with Keras `fit` and writes the weights of the epoch with the best validation session AUC.

    Without a validation part it is the last epoch.

    A training of the same scenario and data that was interrupted is continued from its last checkpoint,
    and gives what it would have given without the interruption.

    Args:
        data: made with the same features as `scenario` has.
        run_directory: must be empty or new, or hold a training that is not complete.
        overwrite: replace a run or a training that is there.
        skip_corrupt: leave out what cannot be read of a broken file, and count it.
        strategy: of `distribution_strategy`; default: one device. Every worker calls this with the same
            arguments, `data` and `run_directory` on a file system that they share; one of them, the chief, writes.
        verbose: as of Keras `fit`.
        callbacks: more of them for `fit`.
        tell: gets lines for a person: where the training continues, what is left out.

    Returns:
        Losses and metrics of every epoch, as in `history.json`.

    Raises:
        InputError: the directory is taken; the training part is empty, has no positives or is
            broken; a batch has fewer sessions than there are replicas; the loss is no longer finite.
    """
    strategy = strategy or tf.distribute.get_strategy()
    chief = strategy.extended.should_checkpoint
    directory = Path(run_directory)
    begun = _begun(directory, scenario, overwrite)
    data.check_features(scenario)
    training = scenario.training
    if training.batch_size < strategy.num_replicas_in_sync:
        raise InputError(
            f"training.batch_size: is {training.batch_size}, of all replicas together, and there are "
            f"{strategy.num_replicas_in_sync} of them; give each at least one session"
        )
    if training.deterministic:
        tf.config.experimental.enable_op_determinism()
    part = training_part(data, "train", skip_corrupt=skip_corrupt, tell=tell)
    validation = training_part(data, "validation", skip_corrupt=skip_corrupt, tell=tell)
    fingerprint = _fingerprint(data, [part, validation])
    if begun:
        _check_same_data(directory, data, fingerprint)
    _check_positives(part, scenario, data.directory)

    steps = math.ceil(part.sessions / training.batch_size)
    run = _compiled_run(scenario, data, steps, strategy)
    wait_for_workers(strategy)  # all have seen the directory as it was
    if chief and not begun:
        _empty(directory, scenario)
    if chief:
        _write_inputs(directory, run, data, fingerprint)
    checkpoints = Checkpoints(run.model, directory / CHECKPOINTS, steps, chief=chief)
    if begun and not checkpoints.restore(tell):
        tell(f"warning: {directory}: has no checkpoint that can be read; the training starts anew")
        run = _compiled_run(scenario, data, steps, strategy)
        checkpoints = Checkpoints(run.model, directory / CHECKPOINTS, steps, chief=chief)
    elif begun:
        tell(f"{directory}: {_continues(checkpoints, training.epochs, steps)}")

    progress = checkpoints.progress
    follow = TrainingProgress(
        checkpoints, steps, training.checkpoint_steps, lambda epoch, step: _batch_name(run, part, epoch, step)
    )

    def fit(epochs: range, skip: int) -> None:
        run.model.fit(
            _distributed(strategy, run, part, epochs, skip),
            validation_data=_distributed(strategy, run, validation) if validation.sessions else None,
            validation_steps=math.ceil(validation.sessions / training.batch_size) if validation.sessions else None,
            initial_epoch=epochs.start,
            epochs=epochs.stop,
            steps_per_epoch=steps - skip,
            verbose=verbose if chief else 0,
            callbacks=[follow, *callbacks],
        )

    with broken_files_named(part.files + validation.files, scenario.features, _UNREADABLE):
        if progress.step:  # the rest of an epoch has fewer steps than Keras gives the others
            fit(range(progress.epoch, progress.epoch + 1), progress.step)
        if progress.epoch < training.epochs:
            fit(range(progress.epoch, training.epochs), 0)

    if not chief:
        wait_for_workers(strategy)
        return progress.history
    checkpoints.load_best()
    save_weights(run.model, directory)
    (directory / HISTORY).write_text(json.dumps(progress.history, indent=2) + "\n", encoding="utf-8")
    marker = {"best_epoch": progress.best_epoch, "sessions": part.sessions, "tensorflow": tf.__version__}
    if skip_corrupt:
        marker["skipped_sessions"] = {each.name: each.skipped for each in (part, validation)}
        tell(f"left out of broken files: {part.skipped:,} sessions of train, {validation.skipped:,} of validation")
    (directory / MARKER).write_text(json.dumps(marker, indent=2) + "\n", encoding="utf-8")
    shutil.rmtree(directory / CHECKPOINTS)
    wait_for_workers(strategy)  # none says that it is complete before it is
    return progress.history


def _distributed(
    strategy: tf.distribute.Strategy, run: Run, part: TrainingPart, epochs: range | None = None, skip: int = 0
) -> tf.data.Dataset:
    """Batches of which each replica gets its part; arguments as of `_dataset`."""

    def of_worker(context: tf.distribute.InputContext) -> tf.data.Dataset:
        replicas = context.num_replicas_in_sync
        each = replicas // context.num_input_pipelines
        own = range(context.input_pipeline_id * each, (context.input_pipeline_id + 1) * each)
        return _dataset(run, part, epochs, skip, replicas, own)

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
        replicas=replicas,
        own=own,
    )


def _batch_name(run: Run, part: TrainingPart, epoch: int, step: int) -> str:
    (batch,) = _dataset(run, part, range(epoch, epoch + 1), step).take(1)
    ids = [name.decode() for name in batch["session_id"].numpy()[:3]]
    return f"a batch of {len(batch['session_id'])} sessions: {', '.join(ids)}, ..."


def _compiled_run(scenario: Scenario, data: PreparedData, steps: int, strategy: tf.distribute.Strategy) -> Run:
    tf.keras.utils.set_random_seed(scenario.training.seed)
    with strategy.scope():
        run = new_run(scenario, data.assets(scenario.features))
        run.model.compile(optimizer=optimizer(run.model, scenario.training, scenario.training.epochs * steps))
    # A metric's result is that of all replicas already: Keras shall not add them up.
    run.model.distribute_reduction_method = "first"
    return run


def _continues(checkpoints: Checkpoints, epochs: int, steps: int) -> str:
    progress = checkpoints.progress
    if progress.epoch == epochs:
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


def _check_same_data(directory: Path, data: PreparedData, fingerprint: str) -> None:
    path = directory / CHECKPOINTS / _DATA
    if not path.exists():  # stopped before it began
        return
    before = json.loads(path.read_text(encoding="utf-8"))
    if before["fingerprint"] != fingerprint:
        raise InputError(
            f"{directory}: holds a training that is not complete, begun on other sessions or files "
            f"({before['directory']}) than {data.directory} gives now; give the same data, and --skip-corrupt as "
            "before, to continue it, or start anew with --overwrite"
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
    shutil.rmtree(directory / CHECKPOINTS, ignore_errors=True)
    (directory / MARKER).unlink(missing_ok=True)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / SCENARIO).write_text(dump_scenario(scenario), encoding="utf-8")


def _write_inputs(directory: Path, run: Run, data: PreparedData, fingerprint: str) -> None:
    """What the model takes from the data, and which data that is; a training that is continued writes the same."""
    shutil.rmtree(directory / VOCABULARIES, ignore_errors=True)
    run.assets.copy_to(directory)
    (directory / CHECKPOINTS).mkdir(exist_ok=True)
    partial = directory / CHECKPOINTS / f"{_DATA}.partial"
    known = {"directory": str(data.directory), "fingerprint": fingerprint}
    partial.write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")
    partial.replace(directory / CHECKPOINTS / _DATA)
