"""Trains on two logical CPUs, which must be set up before TensorFlow begins: run as a script.

python tests/train_mirrored.py DIRECTORY: for each NAME.yaml of it, with the prepared data NAME-data,

    NAME             the run
    NAME.steps.json  the running loss after each step
    NAME-stopped     what a kill after STOP steps would have left of it
    NAME-continued   that, continued; where ids are dropped at random
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import tensorflow as tf

from model.training.distribution import distribution_strategy
from model.training.train import train
from pipeline.prepared_data import PreparedData
from pipeline.scenario_file import load_scenario

#: In the second epoch of the tests.
STOP = 13


class Losses(tf.keras.callbacks.Callback):
    """The running loss after each step; copies the run's directory after STOP of them.

    Args:
        copy: from where and to where.
    """

    def __init__(self, copy: tuple[Path, Path] | None = None) -> None:
        super().__init__()
        self.of_steps: list[float] = []
        self._copy = copy

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.of_steps.append(logs["loss"])
        if len(self.of_steps) == STOP and self._copy:
            shutil.copytree(*self._copy)


def main(directory: Path) -> None:
    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    strategy = distribution_strategy("mirrored")
    assert strategy.num_replicas_in_sync == 2
    for path in sorted(directory.glob("*.yaml")):
        scenario, data = load_scenario(path), PreparedData.open(directory / f"{path.stem}-data")
        stopped = directory / f"{path.stem}-stopped"
        losses = Losses((directory / path.stem, stopped))
        train(scenario, data, directory / path.stem, strategy=strategy, verbose=0, callbacks=[losses])
        path.with_suffix(".steps.json").write_text(json.dumps(losses.of_steps))
        if scenario.model.id_dropout:
            continued = shutil.copytree(stopped, directory / f"{path.stem}-continued")
            train(scenario, data, continued, strategy=strategy, verbose=0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
