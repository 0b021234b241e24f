"""What must hold before a SavedModel is published: its graph loads anywhere, its scores are the model's."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from export.signatures import Tensors
from model.run_directory import Run
from pipeline.errors import InputError

SIGNATURES = {"session_gate", "score_items"}
#: How the SavedModel format itself stores the initialisation of lookup tables.
_INIT_SIGNATURE = "__saved_model_init_op"
#: These call back into the Python process that made them; no server has it.
_PYTHON_OPS = {"PyFunc", "PyFuncStateless", "EagerPyFunc"}
_BFLOAT16 = "; with export.bfloat16 set it to what you allow, about 0.02 (docs/export.md)"


def check_graph(directory: Path) -> None:
    """Holds that the SavedModel has exactly the two signatures and loads on a stock TensorFlow Serving.

    Raises:
        InputError: another signature, an operation in Python, a custom or an XLA-compiled one.
    """
    saved = saved_model_pb2.SavedModel()
    saved.ParseFromString((directory / "saved_model.pb").read_bytes())
    (graph,) = saved.meta_graphs
    signatures = set(graph.signature_def) - {_INIT_SIGNATURE}
    if signatures != SIGNATURES:
        raise InputError(f"the SavedModel's signatures are {sorted(signatures)}, not {sorted(SIGNATURES)}")
    functions = graph.graph_def.library.function
    for node in chain(graph.graph_def.node, *(function.node_def for function in functions)):
        if node.op in _PYTHON_OPS:
            raise InputError(f"operation `{node.name}` runs Python ({node.op}); no server can load it")
        if not hasattr(tf.raw_ops, node.op):
            raise InputError(f"operation `{node.name}` ({node.op}) is not part of TensorFlow; no stock server has it")
    for function in functions:
        if function.attr["_XlaMustCompile"].b:
            raise InputError(f"`{function.signature.name}` is compiled with XLA; a server loads that only with a flag")


def check_scores(directory: Path, run: Run, batches: Iterable[Tensors]) -> float:
    """Holds that the reloaded SavedModel scores sessions as the trained model does.

    Args:
        directory: the SavedModel.
        run: the trained model it was made from.
        batches: raw inputs of `score_items` without the gate, real or random sessions.

    Returns:
        The largest difference of a real candidate's score, or of a gate's component. Where a batch has scores larger
        than 1, which only logits are, that of its scores is divided by the largest one's size.

    Raises:
        InputError: it is above `export.max_score_difference`, or a score is not finite.
    """
    exported = tf.saved_model.load(str(directory)).signatures
    largest = 0.0
    for raw in batches:
        encoded = run.preprocessing(raw)
        trained_gate = run.model.session_gate(encoded)
        trained_scores = run.model.scores(run.model.score_items(encoded, trained_gate))
        gate_inputs = {spec.name: raw[spec.name] for spec in run.scenario.features.gate_inputs}
        gate = exported["session_gate"](**gate_inputs)["gate"]
        score_inputs = {spec.name: raw[spec.name] for spec in run.scenario.features.score_inputs}
        scores = exported["score_items"](gate=gate, **score_inputs)["scores"]
        real = tf.sequence_mask(raw["candidate_count"], tf.shape(scores)[1]).numpy()
        # Logits have no bound, and rounding grows with them.
        scale = max(1.0, np.abs(trained_scores)[real].max())
        difference = np.max([np.abs(gate - trained_gate).max(), np.abs(scores - trained_scores)[real].max() / scale])
        limit, bfloat16 = run.scenario.export.max_score_difference, run.scenario.export.bfloat16
        if not difference <= limit:  # so that NaN fails too
            raise InputError(
                f"the exported model differs from the trained one by {difference:.3g}, more than "
                f"export.max_score_difference {limit:g}; nothing was published{_BFLOAT16 * bfloat16}"
            )
        largest = max(largest, float(difference))
    return largest
