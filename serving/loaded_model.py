"""One version of a model in memory."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2

from export.scenario_asset import read_scenario_asset
from export.warmup_file import read_warmup
from pipeline.config import Scenario
from pipeline.errors import InputError
from serving.proto_inputs import proto_inputs
from serving.protocol import OUTPUTS, SignatureInput, signature_inputs

_Call = Callable[..., list[np.ndarray]]
#: A graph in a session, as TensorFlow Serving runs it: calling a loaded function from Python checks and converts
#: every input in Python, under the interpreter's lock. A call's operations run in the thread that calls, since
#: there are as many callers as cores; handing them to a pool takes longer than most of them.
_IN_THE_CALLING_THREAD = tf.compat.v1.ConfigProto(inter_op_parallelism_threads=-1)


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
    _calls: dict[str, _Call] = field(repr=False)

    @classmethod
    def load(cls, directory: Path) -> LoadedModel:
        """Loads `<base path>/<version>/` and runs its warm-up requests, as TensorFlow Serving does.

        Raises:
            InputError: it is no complete export, or a warm-up request fails.
        """
        scenario = read_scenario_asset(directory)
        session = tf.compat.v1.Session(graph=tf.Graph(), config=_IN_THE_CALLING_THREAD)
        try:
            with session.graph.as_default(), _without_advice():
                loaded = tf.compat.v1.saved_model.load(session, [tf.saved_model.SERVING], str(directory))
        except Exception as error:  # TensorFlow raises many kinds, among them bare KeyError
            raise InputError(f"{directory}: cannot be loaded: {' '.join(str(error).split())}") from error
        signatures = dict(loaded.signature_def)
        if missing := sorted(set(OUTPUTS) - set(signatures)):
            raise InputError(f"{directory}: has no signature `{missing[0]}`; export it again with `awmoe export`")
        inputs = signature_inputs(scenario.features)
        try:
            calls = {name: _call(session, signatures[name], output, inputs[name]) for name, output in OUTPUTS.items()}
        except (KeyError, ValueError) as error:
            raise InputError(f"{directory}: its signatures are not those of its scenario ({error})") from error
        model = cls(int(directory.name), scenario, inputs, signatures, calls)
        model._warm_up(directory)
        return model

    def run(self, signature: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Runs a signature on checked inputs; its outputs by name."""
        (output,) = self._calls[signature](*(inputs[name] for name in self.inputs[signature]))
        return {OUTPUTS[signature]: output}

    def _warm_up(self, directory: Path) -> None:
        experts = self.scenario.model.expert_count
        try:
            for request in read_warmup(directory):
                signature = request.model_spec.signature_name
                self.run(signature, proto_inputs(request.inputs, self.inputs[signature], experts))
        except Exception as error:  # a record, a signature or a kernel: TensorFlow raises many kinds
            raise InputError(f"{directory}: a warm-up request fails: {' '.join(str(error).split())}") from error


def _call(
    session: tf.compat.v1.Session,
    signature: meta_graph_pb2.SignatureDef,
    output: str,
    inputs: dict[str, SignatureInput],
) -> _Call:
    """The signature as a function of its inputs in order.

    `Session.make_callable` would go through `Session.run`, which looks at every input in Python; what is below it takes
    arrays as they are, and is what Keras uses.
    """
    options = config_pb2.CallableOptions(
        feed=[signature.inputs[name].name for name in inputs], fetch=[signature.outputs[output].name]
    )
    call: _Call = session._make_callable_from_options(options)
    return call


@contextmanager
def _without_advice() -> Iterator[None]:
    """Keeps back TensorFlow's advice to load for Python's use instead, which is none for a server."""

    def is_none(record: logging.LogRecord) -> bool:
        return "is deprecated" not in record.getMessage()

    logger = tf.get_logger()
    logger.addFilter(is_none)
    try:
        yield
    finally:
        logger.removeFilter(is_none)
