"""The run directory while a training fills it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.ranker import Ranker
from model.run_directory import CHECKPOINTS, HISTORY, MARKER, METRICS, SCENARIO, save_weights
from model.training.optimizer_state import OptimizerState
from model.training.tensorboard_log import TENSORBOARD
from model.training.write_whole import write_whole
from pipeline.config import Scenario
from pipeline.encoding_assets import VOCABULARIES
from pipeline.errors import InputError
from pipeline.prepared_data import MANIFEST
from pipeline.scenario_file import dump_scenario, load_scenario
from pipeline.setting_difference import setting_difference

#: In the checkpoints' directory: the data that the training reads, and the run it started from.
_SOURCE = "data.json"
#: Keys of `training` that may change on the way: neither the weights' shapes, nor the data and its order, nor the steps
#: that a schedule runs over depend on them.
_MAY_CHANGE = ("dense_learning_rate", "table_learning_rate", "clip_norm", "checkpoint_steps", "early_stopping")


@dataclass(frozen=True)
class TrainingDirectory:
    """A directory that is to become a run, or became one in part.

    Attributes:
        path: of it.
        scenario: of the training.
    """

    path: Path
    scenario: Scenario

    @property
    def checkpoints(self) -> Path:
        """Directory of the checkpoints."""
        return self.path / CHECKPOINTS

    def is_begun(self, *, overwrite: bool) -> bool:
        """Whether it holds a training of the scenario that is to be continued, maybe at other learning rates.

        Raises:
            InputError: it holds something else, or must not be overwritten.
        """
        if taken := [path for path in (self.path, *self.path.parents) if path.exists() and not path.is_dir()]:
            raise InputError(f"{taken[0]}: is a file; name a new directory for the run")
        if not self.path.exists() or not any(self.path.iterdir()):
            return False
        # prepared data has a scenario too, and vocabularies that a run would replace
        holds_run = (self.path / SCENARIO).exists() and not (self.path / MANIFEST).exists()
        if overwrite:
            if not holds_run:
                raise InputError(f"{self.path}: is not empty and holds no run; it will not be overwritten")
            return False
        if not holds_run:
            raise InputError(f"{self.path}: is not empty and holds no run; name a new directory")
        if (self.path / MARKER).exists():
            raise InputError(
                f"{self.path}: holds a complete run; name a new directory, or overwrite it with --overwrite"
            )
        made = load_scenario(self.path / SCENARIO)
        changed = {key: getattr(self.scenario.training, key) for key in _MAY_CHANGE}
        made = made.model_copy(update={"training": made.training.model_copy(update=changed)})
        if dump_scenario(made) != dump_scenario(self.scenario):
            difference = setting_difference(made.model_dump(), self.scenario.model_dump())
            raise InputError(
                f"{self.path}: holds a training that is not complete, with "
                f"{difference or 'its keys in another order'}; give the same to continue it, or start anew with "
                "--overwrite"
            )
        return True

    def check_source(self, source: Mapping[str, Any]) -> None:
        """Checks that the training goes on with the data, and from the run, that it began with.

        Args:
            source: `directory` and `fingerprint` of the data, and where there is one the run as `warm_start`.

        Raises:
            InputError: it does not.
        """
        path = self.checkpoints / _SOURCE
        if not path.exists():  # stopped before it began
            return
        before = json.loads(path.read_text(encoding="utf-8"))
        if before["fingerprint"] != source["fingerprint"]:
            raise InputError(
                f"{self.path}: holds a training that is not complete, begun on other sessions or files "
                f"({before['directory']}) than {source['directory']} gives now; give the same data, "
                "with --skip-corrupt only if it began with it, to continue it, or start anew with --overwrite"
            )
        fresh = {"run": "fresh weights", "weights": None, "steps": 0}
        old, new = (each.get("warm_start", fresh) for each in (before, source))
        if (old["weights"], old["steps"]) != (new["weights"], new["steps"]):
            named = f"{old['run']}, not {new['run']}"
            if old["run"] == new["run"]:
                named = f"other weights of {new['run']}, or with another optimizer.* of it"
            raise InputError(
                f"{self.path}: holds a training that is not complete, begun from {named}; give the same --warm-start "
                "to continue it, or start anew with --overwrite"
            )

    def begin(self) -> None:
        """Makes it, or empties it: a run that was there is no longer complete."""
        for name in (CHECKPOINTS, TENSORBOARD):
            shutil.rmtree(self.path / name, ignore_errors=True)
        for name in (MARKER, METRICS):
            (self.path / name).unlink(missing_ok=True)
        self.path.mkdir(parents=True, exist_ok=True)
        write_whole(self.path / SCENARIO, dump_scenario(self.scenario))

    def write_inputs(self, write_assets: Callable[[Path], object], source: Mapping[str, Any]) -> None:
        """What the model takes from the data, and the source; a training that is continued writes the same again.

        But for the keys of the scenario that may change on the way.
        """
        write_whole(self.path / SCENARIO, dump_scenario(self.scenario))
        shutil.rmtree(self.path / VOCABULARIES, ignore_errors=True)
        write_assets(self.path)
        self.checkpoints.mkdir(exist_ok=True)
        write_whole(self.checkpoints / _SOURCE, json.dumps(source, indent=2) + "\n")

    def finish(self, model: Ranker, history: Mapping[str, list[float]], facts: Mapping[str, Any]) -> None:
        """Writes the run; `facts` are what `run.json` says of it."""
        save_weights(model, self.path)
        OptimizerState.of(model.optimizer).save(self.path)
        for name, content in ((HISTORY, history), (MARKER, facts)):
            write_whole(self.path / name, json.dumps(content, indent=2) + "\n")
        shutil.rmtree(self.checkpoints)
