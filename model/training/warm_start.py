"""A training that starts from the weights of an earlier run."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import tensorflow as tf

from model.run_directory import Run, load_run, run_scenario
from model.table_rows import table_rows
from model.training.grown_assets import write_grown_assets
from model.training.optimizer import optimizer
from model.training.optimizer_state import OptimizerState
from model.training.table_size import TableSize, table_sizes
from model.weights_fingerprint import weights_fingerprint
from pipeline.config import Scenario
from pipeline.encoding_assets import EncodingAssets
from pipeline.errors import InputError
from pipeline.features import Features
from pipeline.setting_difference import setting_difference

#: Keys of the features and the model that change neither the weights' shapes nor what a trained model answers.
_OF_TRAINING_ALONE = re.compile(
    r"features\.tables\.[^.]+\.min_count|model\.(id_dropout|embedding_l2|contrastive\..+)"
    r"|model\.experts\.(load_balance|adversarial|disagreeing)"
)


@dataclass(frozen=True)
class WarmStart:
    """The run that a training starts from; its weights are read when they are first asked for.

    Attributes:
        directory: of the run.
        scenario: of the run.
        assets: of the run.
        table_optimizer: of the training.
        tell: gets a warning where the optimizer begins anew.
    """

    directory: Path
    scenario: Scenario
    assets: EncodingAssets
    table_optimizer: str
    tell: Callable[[str], object]

    @classmethod
    def open(cls, directory: Path, scenario: Scenario, tell: Callable[[str], object]) -> WarmStart:
        """Reads what the run is.

        Args:
            directory: of a complete run.
            scenario: of the training that starts from it.
            tell: gets a warning where the optimizer begins anew.

        Raises:
            InputError: there is no complete run, or its features or model are others than the scenario's.
        """
        of_run = run_scenario(directory)
        old, new = (each.model_dump(include={"features", "model"}) for each in (of_run, scenario))
        if {of_run.model.name, scenario.model.name} == {"aw_moe", "aw_moe_cl"}:  # the contrastive loss has no weights
            new["model"]["name"] = of_run.model.name
        if difference := setting_difference(old, new, lambda key: not _OF_TRAINING_ALONE.fullmatch(key)):
            raise InputError(
                f"{directory}: was trained with {difference}; start from a run of the same features and model, or "
                "train without --warm-start"
            )
        if _order(of_run.features) != _order(scenario.features):
            raise InputError(
                f"{directory}: was trained with the features in another order, by which its weights go; give them in "
                "that order, or train without --warm-start"
            )
        assets = EncodingAssets.load(directory, of_run.features)
        return cls(directory, of_run, assets, scenario.training.table_optimizer, tell)

    @cached_property
    def run(self) -> Run:
        """It, with its weights.

        Raises:
            InputError: they are gone or broken.
        """
        return load_run(self.directory)

    @cached_property
    def state(self) -> OptimizerState | None:
        """Of its optimizer; None where the run has none.

        Raises:
            InputError: it is broken.
        """
        state = OptimizerState.of(optimizer(self.run.model, self.scenario.training))
        warning, before = f"warning: {self.directory}", self.scenario.training.table_optimizer
        if not state.load(self.directory):
            self.tell(f"{warning}: has no optimizer.*; the optimizer begins anew, and its first steps are large")
            return None
        if before != self.table_optimizer:
            self.tell(f"{warning}: its tables were trained with {before}; {self.table_optimizer} begins anew")
        return state

    @property
    def origin(self) -> dict[str, str | int]:
        """Tells it from other runs, and from itself without its optimizer's state."""
        return {"run": str(self.directory), "weights": weights_fingerprint(self.run.model), "steps": self.steps}

    @property
    def steps(self) -> int:
        """That the optimizer has made."""
        return int(self.state.steps[0]) if self.state else 0

    @property
    def table_sizes(self) -> list[TableSize]:
        """Of its tables, with its own optimizer."""
        return table_sizes(self.scenario, table_rows(self.scenario.features, self.assets))

    def grown_rows(self, data: EncodingAssets) -> dict[str, int]:
        """Rows of each table that `write_assets` makes."""
        rows = dict(table_rows(self.scenario.features, self.assets))
        for table in self.assets.vocabularies:
            rows[table] += len(set(data.vocabulary(table)) - set(self.assets.vocabulary(table)))
        return rows

    def write_assets(self, data: EncodingAssets, directory: Path) -> None:
        """Writes the run's vocabularies, grown by the data's, and its statistics."""
        write_grown_assets(self.assets, data, directory)

    def describe(self, grown: EncodingAssets) -> str:
        """In words, with what was added to its vocabularies."""
        old = self.assets
        added = {table: len(grown.vocabulary(table)) - len(old.vocabulary(table)) for table in old.vocabularies}
        rows = ", ".join(f"{count:,} of {table}" for table, count in added.items() if count)
        return f"starts from {self.directory}; new rows: {rows or 'none'}"

    def give_to(self, run: Run) -> None:
        """Gives a new run, compiled and with grown vocabularies, the weights and the optimizer's state.

        A new row begins as the row that the old model used for its value, one of those for values outside the
        vocabulary, so that the new model answers as the old one until it is trained. Of a new row the optimizer knows
        nothing.
        """
        for old_layer, new_layer in zip(self.run.model.layers, run.model.layers, strict=True):
            if new_layer is not run.model.embedding:
                for old, new in zip(old_layer.weights, new_layer.weights, strict=True):
                    new.assign(old)
        for table, old in self.run.model.embedding.tables.items():
            rows = tf.range(old.shape[0])
            if added := run.assets.vocabulary(table)[len(self.assets.vocabulary(table)) :]:
                rows = tf.concat([rows, self.run.preprocessing.rows(table, tf.constant(added))], axis=0)
            run.model.embedding.tables[table].assign(tf.gather(old, rows))
        if self.state:
            same = self.scenario.training.table_optimizer == self.table_optimizer
            self.state.give_to(OptimizerState.of(run.model.optimizer), tables=same)


def _order(features: Features) -> list[str]:
    return [*(feature.name for feature in features.encoded), *features.cross]
