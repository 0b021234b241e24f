"""Training: prepared data to a run directory."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf

from model.dataset import broken_files_named, raw_dataset, session_dataset
from model.optimizer import optimizer
from model.run_directory import HISTORY, MARKER, SCENARIO, Run, load_weights, new_run, save_weights
from pipeline.config import Scenario, dump_scenario
from pipeline.encoding_assets import VOCABULARIES
from pipeline.errors import InputError
from pipeline.prepared_data import MANIFEST, Part, PreparedData

History = dict[str, list[float]]
_MONITOR = "val_session_auc"


def train(
    scenario: Scenario,
    data: PreparedData,
    run_directory: str | Path,
    *,
    overwrite: bool = False,
    verbose: int | str = "auto",
    callbacks: Sequence[tf.keras.callbacks.Callback] = (),
) -> History:
    """Trains with Keras `fit` and writes the weights of the epoch with the best validation session AUC.

    Without a validation part it is the last epoch.

    Args:
        data: made with the same features as `scenario` has.
        run_directory: must be empty or new.
        overwrite: replace a run that is there.
        verbose: as of Keras `fit`.
        callbacks: more of them for `fit`.

    Returns:
        Losses and metrics of every epoch, as in `history.json`.

    Raises:
        InputError: the directory is taken; the training part is empty, has no positives or is
            broken; the loss is no longer finite.
    """
    directory = Path(run_directory)
    _check_free(directory, overwrite)
    data.check_features(scenario)
    training = scenario.training
    tf.keras.utils.set_random_seed(training.seed)
    run = new_run(scenario, data.assets(scenario.features))
    _check_positives(data, scenario)

    _prepare(directory, run)
    model = run.model
    steps = training.epochs * math.ceil(data.sessions("train") / training.batch_size)
    model.compile(optimizer=optimizer(model, training, steps))
    best = _BestWeights(directory)
    with broken_files_named(data.files("train") + data.files("validation"), scenario.features):
        history = model.fit(
            _dataset(run, data, "train", shuffle_buffer=training.shuffle_buffer),
            validation_data=_dataset(run, data, "validation") if data.sessions("validation") else None,
            epochs=training.epochs,
            verbose=verbose,
            callbacks=[tf.keras.callbacks.TerminateOnNaN(), best, *callbacks],
        ).history
    if not all(math.isfinite(history[name][-1]) for name in ("loss", "val_loss") if name in history):
        raise InputError("training: the loss is no longer finite; lower training.dense_learning_rate")
    load_weights(model, directory)

    floats = {name: [float(value) for value in values] for name, values in history.items()}
    (directory / HISTORY).write_text(json.dumps(floats, indent=2) + "\n", encoding="utf-8")
    marker = {"best_epoch": best.epoch, "sessions": data.sessions("train"), "tensorflow": tf.__version__}
    (directory / MARKER).write_text(json.dumps(marker, indent=2) + "\n", encoding="utf-8")
    return floats


class _BestWeights(tf.keras.callbacks.Callback):
    """Writes the weights at every epoch that is better than those before; `epoch` counts from 1."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self.epoch = 0
        self._directory = directory
        self._best = -math.inf

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        logs = logs or {}
        value = logs.get(_MONITOR, epoch)
        if value > self._best:
            self._best, self.epoch = value, epoch + 1
            save_weights(self.model, self._directory)


def _dataset(run: Run, data: PreparedData, part: Part, shuffle_buffer: int | None = None) -> tf.data.Dataset:
    training = run.scenario.training
    return session_dataset(
        data.files(part),
        run.scenario.features,
        run.preprocessing,
        batch_size=training.batch_size,
        sessions=data.sessions(part),
        shuffle_buffer=shuffle_buffer,
        seed=training.seed,
    )


def _check_free(directory: Path, overwrite: bool) -> None:
    if taken := [path for path in (directory, *directory.parents) if path.exists() and not path.is_dir()]:
        raise InputError(f"{taken[0]}: is a file; name a new directory for the run")
    if directory.exists() and any(directory.iterdir()):
        if not overwrite:
            raise InputError(f"{directory}: is not empty; name a new directory, or overwrite the run with --overwrite")
        # prepared data has a scenario too, and vocabularies that a run would replace
        if not (directory / SCENARIO).exists() or (directory / MANIFEST).exists():
            raise InputError(f"{directory}: is not empty and holds no run; it will not be overwritten")


def _check_positives(data: PreparedData, scenario: Scenario) -> None:
    files = data.files("train")
    if not data.sessions("train"):
        raise InputError(f"{data.directory}: the training part has no sessions; preprocess a longer log")
    with broken_files_named(files, scenario.features):
        # Stops at the first positive: one batch, unless something is wrong.
        labels = raw_dataset(files, scenario.features, batch_size=256).map(lambda raw: raw["candidate_label"])
        if not any(tf.reduce_any(batch > 0) for batch in labels):
            raise InputError(
                f"{data.directory}: no candidate of the training part has a positive label; "
                "check pipeline.label and the log's clicks and purchases"
            )


def _prepare(directory: Path, run: Run) -> None:
    """All but weights, history and marker; a run that was there is no longer complete from here on."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / MARKER).unlink(missing_ok=True)
    shutil.rmtree(directory / VOCABULARIES, ignore_errors=True)
    (directory / SCENARIO).write_text(dump_scenario(run.scenario), encoding="utf-8")
    run.assets.copy_to(directory)
