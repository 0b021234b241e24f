"""The optimizers' state beside a run's weights, for a training that starts from them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf
import tensorflow_recommenders as tfrs

from model.read_checkpoint import BrokenCheckpointError, read_checkpoint
from pipeline.errors import InputError

_NAME = "optimizer"


@dataclass(frozen=True)
class OptimizerState:
    """What a composite optimizer remembers of the steps it made; its learning rates are not of it.

    Attributes:
        steps: of either optimizer.
        dense: moments of the dense weights.
        tables: of the tables, each kind of all tables after the other; a row of them belongs to the table's row.
    """

    steps: list[tf.Variable]
    dense: list[tf.Variable]
    tables: list[tf.Variable]

    @classmethod
    def of(cls, optimizer: tfrs.experimental.optimizers.CompositeOptimizer) -> OptimizerState:
        """The state itself, no copy of it, of what `model.training.optimizer.optimizer` made."""
        # Keras lists the count of steps first, and no learning rate.
        (steps, *dense), (of_tables, *tables) = (part.variables for part in optimizer.optimizers)
        return cls([steps, of_tables], dense, tables)

    def save(self, directory: Path) -> None:
        """Writes `optimizer.*` to a run directory."""
        self._checkpoint().write(str(directory / _NAME))

    def load(self, directory: Path) -> bool:
        """Reads what `save` wrote; False if the run has none.

        Raises:
            InputError: it is broken, or of another model or optimizer.
        """
        path = directory / _NAME
        if not path.with_suffix(".index").exists():
            return False
        try:
            read_checkpoint(self._checkpoint(), path)
        except BrokenCheckpointError as error:
            raise InputError(
                f"{path}: broken, or not of the run's scenario ({error}); delete {path}.* to start with a fresh one"
            ) from error
        return True

    def give_to(self, grown: OptimizerState, *, tables: bool) -> None:
        """Copies to the state of a model whose tables have the same rows and then new ones, which stay fresh.

        Args:
            grown: of optimizers of the same kinds.
            tables: whether the tables' too.
        """
        for old, new in zip(self.steps, grown.steps, strict=True):
            new.assign(old)
        for old, new in zip(self.dense, grown.dense, strict=True):
            new.assign(old)
        if tables:
            for old, new in zip(self.tables, grown.tables, strict=True):
                new.assign(tf.concat([old, new[old.shape[0] :]], axis=0))

    def _checkpoint(self) -> tf.train.Checkpoint:
        return tf.train.Checkpoint(steps=self.steps, dense=self.dense, tables=self.tables)
