"""The SavedModel's two signatures, built from the feature declaration.

    session_gate   behaviours and the query        -> gate   [B, K]   eq. 6 to 8, once a session
    score_items    every model input and the gate  -> scores [B, N]   eq. 2 to 5 and 9

Inputs are raw: strings, float32 numbers and int64 counts. Every tensor, in and out, has
the session first (`[B]`, `[B, T]`, `[B, N]`, `[B, K]`) and no fixed size, because
TensorFlow Serving joins and splits requests along the first dimension.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

from model.run_directory import Run
from pipeline.features import InputSpec

Tensors = dict[str, tf.Tensor]


def save_signatures(run: Run, directory: Path) -> None:
    """Writes preprocessing and model as a SavedModel with exactly the two signatures.

    The model's gate must not depend on the candidate (`gate.context: query`). With `export.bfloat16`
    the layers of `score_items` are computed in bfloat16; every input and output is float32.
    """
    preprocessing, model, features = run.preprocessing, run.model, run.scenario.features

    def session_gate(**raw: tf.Tensor) -> Tensors:
        return {"gate": model.session_gate(preprocessing(raw))}

    def score_items(gate: tf.Tensor, **raw: tf.Tensor) -> Tensors:
        return {"scores": model.scores(model.score_items(preprocessing(raw), gate))}

    gate = {"gate": tf.TensorSpec([None, None], tf.float32, name="gate")}
    signatures = {"session_gate": _trace(session_gate, _tensor_specs(features.gate_inputs))}
    with model.scoring_form(tf.bfloat16 if run.scenario.export.bfloat16 else tf.float32):
        signatures["score_items"] = _trace(score_items, _tensor_specs(features.score_inputs) | gate)
    # What is saved holds the lookup tables and the weights, not the Keras layers: those would
    # bring their own call functions and what only training needs.
    module = tf.Module(name="aw_moe")
    module.preprocessing = preprocessing
    module.weights = [variable for function in signatures.values() for variable in function.variables]
    tf.saved_model.save(module, str(directory), signatures=signatures)


def _tensor_specs(inputs: tuple[InputSpec, ...]) -> dict[str, tf.TensorSpec]:
    return {
        spec.name: tf.TensorSpec([None, None] if spec.axis else [None], tf.as_dtype(spec.dtype), name=spec.name)
        for spec in inputs
    }


def _trace(
    function: Callable[..., Tensors], inputs: dict[str, tf.TensorSpec]
) -> tf.types.experimental.ConcreteFunction:
    return tf.function(function, autograph=False).get_concrete_function(**inputs)
