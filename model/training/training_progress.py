"""Follows Keras `fit`: saves checkpoints, remembers the best epoch, stops early and at what is not finite."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable

import tensorflow as tf

from model.training.checkpoints import Checkpoints
from model.training.write_whole import write_whole
from pipeline.errors import InputError

_MONITOR = "val_session_auc"
_REMEDY = (
    "give the same command with a lower training.dense_learning_rate or training.clip_norm to go on, or mend the "
    "log and start anew with --overwrite"
)
#: In the checkpoints' directory: sessions that may have spoilt the weights.
_SUSPECTS = "not_finite.json"


class TrainingProgress(tf.keras.callbacks.Callback):
    """The first callback of a training: what comes after it finds the checkpoint saved.

    At the end of each epoch it saves the weights where they are the best so far, by the session AUC
    of the validation part; without one, or a session in it with both classes, each epoch is better than those
    before. It adds the learning rate of the epoch's last step, of dense weights, to what `fit` reports.

    A checkpoint is saved at the end of each epoch and every `checkpoint_steps` steps of it, but never
    after a step whose loss or weights are no longer finite: that stops the training.

    Args:
        checkpoints: may have been restored; the training goes on from there.
        checkpoint_steps: between checkpoints.
        session_ids: gives those of the batch of an epoch and a step, both counted from 0, for an error.
        early_stopping: epochs without a better one after which `fit` ends; default: never.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        checkpoint_steps: int,
        session_ids: Callable[[int, int], list[str]],
        early_stopping: int | None = None,
    ) -> None:
        super().__init__()
        self._checkpoints, self._progress = checkpoints, checkpoints.progress
        self._checkpoint_steps, self._session_ids = checkpoint_steps, session_ids
        self._early_stopping = early_stopping
        self._since = time.perf_counter()
        self._means: list[tuple[tf.Variable, tf.Tensor]] = []

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Keeps the running means of an epoch that was interrupted."""
        self._since = time.perf_counter()
        if self._progress.step:
            variables = [variable for metric in self.model.metrics for variable in metric.variables]
            self._means = [(variable, tf.identity(variable)) for variable in variables]

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Gives them back: Keras has just set them to 0."""
        for variable, value in self._means:
            variable.assign(value)
        self._means = []

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Counts the step; stops, or saves when it is time."""
        self._progress.step += 1
        if not math.isfinite((logs or {})["loss"]):
            self._stop("the loss is no longer finite")
        # after an epoch's last step its end follows
        if self._progress.step % self._checkpoint_steps == 0 and self._progress.step < self._checkpoints.steps:
            self._check_weights()
            self._save()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Saves."""
        # What is added here is seen by the callbacks that follow, the bar and the history among them.
        logs, progress = {} if logs is None else logs, self._progress
        self._check_weights()
        if not math.isfinite(logs.get("val_loss", 0.0)):
            raise InputError(
                f"training: the loss is no longer finite on the validation part after epoch {epoch + 1}; "
                f"{self._kept()}; {_REMEDY}"
            )
        logs["learning_rate"] = float(self.model.optimizer.optimizers[0].learning_rate.numpy())
        for name, value in logs.items():
            progress.history.setdefault(name, []).append(float(value))
        # without a session that has both classes it is 0, whatever the weights
        measured = _MONITOR in logs and float(self.model.session_auc.sessions.numpy()) > 0
        value = float(logs[_MONITOR] if measured else epoch)
        progress.epoch, progress.step = epoch + 1, 0
        if value > progress.best_value:
            progress.best_value, progress.best_epoch = value, progress.epoch
            self._checkpoints.save_best()
        self._save()
        if progress.stops_early(self._early_stopping):  # another callback may have set it too
            self.model.stop_training = True

    def _save(self) -> None:
        now = time.perf_counter()
        self._progress.seconds += now - self._since
        self._since = now
        self._checkpoints.save()

    def _check_weights(self) -> None:
        """A loss may be finite and its gradient not; then the next step would tell."""
        for weight in self.model.trainable_variables:
            if not tf.reduce_all(tf.math.is_finite(weight)):
                self._stop(f"`{weight.name}` is no longer finite")

    def _stop(self, why: str) -> None:
        """A batch whose gradient is not finite spoils the weights, which the loss of the next one tells."""
        epoch, step = self._progress.epoch, self._progress.step
        batches = {number: self._session_ids(epoch, number - 1) for number in (step, step - 1) if number}
        path = self._checkpoints.directory / _SUSPECTS
        if self._checkpoints.chief:
            write_whole(path, json.dumps({"epoch": epoch + 1, "sessions_of_steps": batches}, indent=2) + "\n")
        raise InputError(
            f"training: {why} at epoch {epoch + 1}, step {step:,} (a batch of {len(batches[step])} sessions: "
            f"{', '.join(batches[step][:3])}, ...); look for wild numbers in it and in the one before, whose sessions "
            f"are in {path}; {self._kept()}; {_REMEDY}"
        )

    def _kept(self) -> str:
        last = self._checkpoints.last
        return f"the last good checkpoint is {last}" if last else "no checkpoint was saved before"
