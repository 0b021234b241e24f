"""The curves of a training for TensorBoard."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

from model.training.event_file import EventFile

#: Directory of a run that TensorBoard reads.
TENSORBOARD = "tensorboard"
#: Directory in it of the training part, and of the projector.
TRAINING = "train"
_VALIDATION = "validation"
#: Steps between two points of a training curve.
EVERY = 100


class TensorBoardLog(tf.keras.callbacks.Callback):
    """Writes losses, session AUC and learning rate, by the step of the whole training.

    train/        every 100 steps and at the end of an epoch: means over the steps since the point before
    validation/   at the end of an epoch: the same of the validation part, the gate's entropy, and each expert's load

    It comes after `TrainingProgress`, whose checkpoint has what is written.

    Args:
        directory: of the event files.
        steps: of an epoch.
        done: steps that a checkpoint has already; what earlier files have of later ones is void.
        chief: false for the other workers, which write nothing: a mean over all workers needs each to read it.
    """

    def __init__(self, directory: Path, steps: int, done: int, *, chief: bool = True) -> None:
        super().__init__()
        self._steps, self._step = steps, done
        self._files = {part: EventFile(directory / part, done + 1) for part in (TRAINING, _VALIDATION) if chief}
        self._before: dict[str, list[float]] = {}

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Means begin here; of an epoch that was interrupted, where it goes on."""
        self._before = self._sums()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Counts the step; a point when it is time."""
        self._step += 1
        if self._step % EVERY == 0 and self._step % self._steps:
            self._write_training()

    def on_test_begin(self, logs: dict[str, float] | None = None) -> None:
        """The end of the epoch's steps: the validation sets the means to 0."""
        self._write_training()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """A point of the validation part; without one, the last of the training part."""
        logs = logs or {}
        values = {name.removeprefix("val_"): float(value) for name, value in logs.items() if name.startswith("val_")}
        if not values:
            self._write_training()
            return
        load = self.model.expert_load.result().numpy()
        if len(load) > 1:
            values |= {f"expert_load/{number}": float(share) for number, share in enumerate(load, 1)}
        self._write(_VALIDATION, values)

    def _write_training(self) -> None:
        sums = self._sums()
        values = {}
        for name, (total, count) in sums.items():
            total_before, count_before = self._before[name]
            if count > count_before:
                values[name] = (total - total_before) / (count - count_before)
        values["learning_rate"] = float(self.model.optimizer.optimizers[0].learning_rate.numpy())
        self._write(TRAINING, values)
        self._before = sums

    def _write(self, part: str, values: dict[str, float]) -> None:
        if self._files:
            self._files[part].write(self._step, values)

    def _sums(self) -> dict[str, list[float]]:
        """What each mean has added up since its epoch began, and how many."""
        means = [*self.model.loss_means.values(), self.model.session_auc]
        return {mean.name: [float(variable.numpy()) for variable in mean.variables] for mean in means}
