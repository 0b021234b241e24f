"""Checkpoints of a training that is under way: all that it needs to go on."""

from __future__ import annotations

import json
import math
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import tensorflow as tf

from model.ranker import Ranker
from model.read_checkpoint import BrokenCheckpointError, read_checkpoint, why_unreadable
from model.run_directory import layers_checkpoint, load_weights, save_weights

#: Newest checkpoints on disk; one that is broken falls back on the one before.
KEPT = 3
_NAME = "step"


@dataclass(eq=False)
class Progress(tf.train.experimental.PythonState):
    """How far a training is, beside what its variables say.

    Attributes:
        epoch: epochs that are complete.
        step: steps of the epoch that is not.
        history: losses and metrics of every complete epoch.
        best_epoch: whose weights were the best so far, counted from 1; 0 before the first.
        best_value: by which they were.
        best_of_kept: `best_epoch` of the checkpoints that are on disk.
        seconds: of `fit`, without what was lost with an interruption.
    """

    epoch: int = 0
    step: int = 0
    history: dict[str, list[float]] = field(default_factory=dict)
    best_epoch: int = 0
    best_value: float = -math.inf
    best_of_kept: list[int] = field(default_factory=list)
    seconds: float = 0.0

    def stops_early(self, patience: int | None) -> bool:
        """Whether that many epochs were no better than the best before them; of no `patience`, or no best, never."""
        return patience is not None and self.best_epoch > 0 and self.epoch - self.best_epoch >= patience

    def serialize(self) -> str:
        """For a checkpoint."""
        return json.dumps(asdict(self))

    def deserialize(self, string_value: str) -> None:
        """From a checkpoint."""
        for name, value in json.loads(string_value).items():
            setattr(self, name, value)


class Checkpoints:
    """Saves and restores the weights, the optimizers' state, random numbers, running means and `Progress`.

    step-<steps of all epochs>.*    the newest three (broken-step-*: not readable, and in nobody's way)
    best-<epoch>.*                  weights of the best epoch, as of each of these

    Args:
        model: built and compiled; what is restored goes into it.
        directory: made when it is not there.
        steps: of an epoch.
        chief: false for the other workers, whose part in saving TensorFlow needs, but not what they write:
            it is thrown away, and they restore what the chief saved.

    Attributes:
        directory, steps, chief: as given.
        progress: saved and restored with the rest.
        last: what was saved or restored last, without the ends of its files' names.
    """

    def __init__(self, model: Ranker, directory: Path, steps: int, *, chief: bool = True) -> None:
        self.progress, self.last = Progress(), ""
        self.directory, self.steps, self.chief, self._model = directory, steps, chief, model
        self._checkpoint = tf.train.Checkpoint(
            layers=layers_checkpoint(model),
            optimizer=model.optimizer,
            random_numbers=model.random_numbers.generator,
            means=tf.train.Checkpoint(**{metric.name: metric for metric in model.metrics}),
            progress=self.progress,
        )
        self._thrown_away = None if chief else tempfile.TemporaryDirectory(prefix="awmoe-worker-")

    def save(self) -> None:
        """Saves all; deletes what none of the newest checkpoints needs any more."""
        progress = self.progress
        progress.best_of_kept = [*progress.best_of_kept, progress.best_epoch][-KEPT:]
        path = self.directory / f"{_NAME}-{progress.epoch * self.steps + progress.step}"
        self.last = str(path)
        if self._thrown_away:
            self._checkpoint.write(str(Path(self._thrown_away.name) / _NAME))
            return
        self._checkpoint.write(str(path))
        for old in self.found()[KEPT:]:
            _delete(old)
        for best in self.directory.glob("best-*.index"):
            if best.stem not in map(_best, progress.best_of_kept):
                _delete(best.with_suffix(""))

    def save_best(self) -> None:
        """Saves the weights as those of `progress.best_epoch`."""
        if self.chief:
            save_weights(self._model, self.directory, _best(self.progress.best_epoch))

    def load_best(self) -> None:
        """Loads the weights of `progress.best_epoch` into the model; without one it keeps those of the last epoch.

        Raises:
            InputError: they are gone or broken.
        """
        progress = self.progress
        if progress.best_epoch:
            load_weights(self._model, self.directory, _best(progress.best_epoch))
        progress.best_epoch = progress.best_epoch or progress.epoch

    def restore(self, warn: Callable[[str], object]) -> bool:
        """Restores the newest checkpoint that can be read; one that cannot be is set aside for the one before.

        False if there is none; what the model holds is then no longer of use. Where the weights of the best epoch
        are broken, the best of those that follow takes their place.

        Args:
            warn: gets a line for each that is skipped.
        """
        if self.chief:  # of a save that was killed
            for path in self.directory.glob("*_temp"):
                shutil.rmtree(path)
        for path in self.found():
            try:
                read_checkpoint(self._checkpoint, path)
            except BrokenCheckpointError as error:
                warn(f"warning: {path}: is broken and set aside ({error})")
                self._set_aside(path)
            else:
                self.last = str(path)
                self._check_best(warn)
                return True
        return False

    def found(self) -> list[Path]:
        """The checkpoints that are there, newest first, without the ends of their files' names."""
        paths = [path.with_suffix("") for path in self.directory.glob(f"{_NAME}-*.index")]
        return sorted(paths, key=lambda path: int(path.name.rpartition("-")[2]), reverse=True)

    def _set_aside(self, path: Path) -> None:
        """It would count among the newest, and come back when it can be read again."""
        if self.chief:
            for file in _files(path):
                file.rename(file.with_name(f"broken-{file.name}"))

    def _check_best(self, warn: Callable[[str], object]) -> None:
        progress = self.progress
        path = self.directory / _best(progress.best_epoch)
        if progress.best_epoch and (why := why_unreadable(path)):
            warn(f"warning: {path}: is broken ({why}); the best epoch is chosen among those after {progress.epoch}")
            progress.best_epoch, progress.best_value = 0, -math.inf


def _best(epoch: int) -> str:
    return f"best-{epoch}"


def _delete(path: Path) -> None:
    for file in _files(path):
        file.unlink()


def _files(path: Path) -> list[Path]:
    """Of a checkpoint; the index first, without which the others are none."""
    return sorted(path.parent.glob(f"{path.name}.*"), key=lambda file: file.suffix != ".index")
