"""One version of a model in memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

from export.scenario_asset import read_scenario_asset
from pipeline.config import Scenario
from pipeline.errors import InputError
from serving.protocol import OUTPUTS, SignatureInput, signature_inputs


@dataclass(frozen=True)
class LoadedModel:
    """A SavedModel of `awmoe export`, ready to answer from many threads.

    Attributes:
        version: the directory's number.
        scenario: the scenario it was trained from; what requests are checked against.
        inputs: the inputs of each signature.
        signature_def: the signatures as the SavedModel states them, for `GetModelMetadata`.
    """

    version: int
    scenario: Scenario
    inputs: dict[str, dict[str, SignatureInput]]
    signature_def: dict[str, meta_graph_pb2.SignatureDef]
    _model: Any = field(repr=False)

    @classmethod
    def load(cls, directory: Path) -> LoadedModel:
        """Loads `<base path>/<version>/`.

        Raises:
            InputError: it is no complete export.
        """
        scenario = read_scenario_asset(directory)
        saved = saved_model_pb2.SavedModel()
        try:
            saved.ParseFromString((directory / "saved_model.pb").read_bytes())
            model = tf.saved_model.load(str(directory))
        except Exception as error:  # TensorFlow raises many kinds, among them bare KeyError
            raise InputError(f"{directory}: cannot be loaded: {' '.join(str(error).split())}") from error
        if missing := sorted(set(OUTPUTS) - set(model.signatures)):
            raise InputError(f"{directory}: has no signature `{missing[0]}`; export it again with `awmoe export`")
        return cls(
            version=int(directory.name),
            scenario=scenario,
            inputs=signature_inputs(scenario.features),
            signature_def=dict(saved.meta_graphs[0].signature_def),
            _model=model,
        )

    def run(self, signature: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Runs a signature on checked inputs; its outputs by name."""
        tensors = {name: tf.constant(array) for name, array in inputs.items()}
        return {name: tensor.numpy() for name, tensor in self._model.signatures[signature](**tensors).items()}
