"""A training run's directory, which stands alone: `load_run` needs nothing else.

run.json            written last: a directory without it is not complete
scenario.yaml
vocabularies/, statistics.json
weights.*           TensorFlow checkpoint of the best epoch
optimizer.*         its state after the last epoch, for a training that starts from the run
history.json        losses and metrics of every epoch, and the learning rate
metrics.json        what `awmoe evaluate` found on the test part
tensorboard/        curves and embeddings
checkpoints/        of a training that is not complete: what it needs to go on
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf

from model.build_model import build_model
from model.preprocessing import Preprocessing
from model.ranker import Ranker
from model.read_checkpoint import BrokenCheckpointError, read_checkpoint
from pipeline.config import Scenario
from pipeline.encoding_assets import EncodingAssets
from pipeline.errors import InputError
from pipeline.scenario_file import load_scenario

MARKER = "run.json"
SCENARIO = "scenario.yaml"
HISTORY = "history.json"
METRICS = "metrics.json"
WEIGHTS = "weights"
CHECKPOINTS = "checkpoints"


@dataclass(frozen=True)
class Run:
    """A trained model with what it needs to take raw values."""

    scenario: Scenario
    assets: EncodingAssets
    preprocessing: Preprocessing
    model: Ranker


def new_run(scenario: Scenario, assets: EncodingAssets) -> Run:
    """A run with fresh weights; all of them are made, so they can be loaded or counted."""
    preprocessing = Preprocessing(scenario.features, assets)
    model = build_model(scenario, preprocessing.table_rows)
    model(preprocessing(_blank_session(scenario)))
    return Run(scenario, assets, preprocessing, model)


def run_scenario(directory: str | Path) -> Scenario:
    """The scenario of the run that `train` wrote.

    Raises:
        InputError: no such directory, or its training did not finish.
    """
    directory = Path(directory)
    if not (directory / MARKER).exists():
        what = f"its training did not finish (no {MARKER})" if directory.exists() else "no such directory"
        raise InputError(f"{directory}: {what}; run `awmoe train` first")
    return load_scenario(directory / SCENARIO)


def load_run(directory: str | Path) -> Run:
    """The run that `train` wrote.

    Raises:
        InputError: no such directory, its training did not finish, or its files do not
            belong together.
    """
    directory = Path(directory)
    scenario = run_scenario(directory)
    run = new_run(scenario, EncodingAssets.load(directory, scenario.features))
    load_weights(run.model, directory)
    return run


def save_weights(model: Ranker, directory: Path, name: str = WEIGHTS) -> None:
    """Writes the model's weights, without the optimizer's, over those of that name that are there."""
    layers_checkpoint(model).write(str(directory / name))


def load_weights(model: Ranker, directory: Path, name: str = WEIGHTS) -> None:
    """Reads what `save_weights` wrote into a built model.

    Raises:
        InputError: the weights are gone, broken, or of a model of another shape.
    """
    path = directory / name
    try:
        read_checkpoint(layers_checkpoint(model), path)
    except BrokenCheckpointError as error:
        raise InputError(f"{path}: broken, or not of the run's scenario ({error}); train again") from error


def layers_checkpoint(model: Ranker) -> tf.train.Checkpoint:
    """The layers rather than the model, which would bring the optimizer's weights along."""
    return tf.train.Checkpoint(**{layer.name: layer for layer in model.layers if layer.weights})


def _blank_session(scenario: Scenario) -> dict[str, tf.Tensor]:
    """One session of missing values, `B = T = N = 1`."""
    shapes = {"": [1], "T": [1, 1], "N": [1, 1]}
    specs = scenario.features.score_inputs
    return {spec.name: tf.zeros(shapes[spec.axis], tf.dtypes.as_dtype(spec.dtype)) for spec in specs}
