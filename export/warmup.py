"""Warm-up: requests that TensorFlow Serving runs when it loads a version, before it answers anybody.

They lie in `assets.extra/tf_serving_warmup_requests`, a TFRecord of `PredictionLog`. TensorFlow Serving refuses to load
a version of which one of them fails, or that has more than 1,000.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from export.random_sessions import random_sessions
from export.signatures import Tensors
from export.warmup_file import WARMUP_FILE, read_warmup
from model.run_directory import Run
from pipeline.errors import InputError

#: TensorFlow Serving's own limit.
MOST_RECORDS = 1000
#: T and N of the requests, each with each; the longest list of behaviours is the scenario's.
_BEHAVIORS = (1, 10)
_CANDIDATES = (1, 20, 100)


def write_warmup(version_directory: Path, run: Run) -> int:
    """Adds requests of both signatures at several sizes to a SavedModel's directory, each of one session.

    Returns:
        How many.
    """
    path = version_directory / WARMUP_FILE
    path.parent.mkdir(exist_ok=True)
    requests = list(_requests(run))
    with tf.io.TFRecordWriter(str(path)) as writer:
        for request in requests:
            log = prediction_log_pb2.PredictionLog()
            log.predict_log.request.CopyFrom(request)
            writer.write(log.SerializeToString())
    return len(requests)


def replay_warmup(version_directory: Path) -> int:
    """Runs a version's warm-up requests as a server that loads it would.

    Returns:
        How many there are.

    Raises:
        InputError: there are none or too many, one fails, or an output is not finite.
    """
    path = version_directory / WARMUP_FILE
    signatures = tf.saved_model.load(str(version_directory)).signatures
    count = 0
    try:
        for request in read_warmup(version_directory):
            inputs = {name: tf.constant(tf.make_ndarray(tensor)) for name, tensor in request.inputs.items()}
            for name, output in signatures[request.model_spec.signature_name](**inputs).items():
                if not np.isfinite(output).all():
                    raise InputError(f"warm-up request {count}: `{name}` is not finite; nothing was published")
            count += 1
    except InputError:
        raise
    except Exception as error:  # a record, a signature or a kernel: TensorFlow raises many kinds
        reason = " ".join(str(error).split())
        raise InputError(f"warm-up request {count} fails ({reason}); nothing was published") from error
    if not 1 <= count <= MOST_RECORDS:
        raise InputError(f"{path}: has {count:,} warm-up requests, must be 1 to {MOST_RECORDS:,}")
    return count


def _requests(run: Run) -> Iterator[predict_pb2.PredictRequest]:
    features = run.scenario.features
    for number, (raw, gate_too) in enumerate(_sessions(run)):
        gate = run.model.session_gate(run.preprocessing(raw))
        if not np.isfinite(gate).all():
            raise InputError(f"warm-up session {number}: the model's gate is not finite; nothing was published")
        if gate_too:
            yield _request(run, "session_gate", {spec.name: raw[spec.name] for spec in features.gate_inputs})
        score_inputs = {spec.name: raw[spec.name] for spec in features.score_inputs}
        yield _request(run, "score_items", {**score_inputs, "gate": gate})


def _sessions(run: Run) -> Iterator[tuple[Tensors, bool]]:
    """Sessions, each with whether its gate is to be asked for, too: the number of candidates does not change it."""
    longest = run.scenario.pipeline.behaviors.max_behaviors
    yield _session(run, 1, _CANDIDATES[1], known_user=False), True
    for behaviors in sorted({*(size for size in _BEHAVIORS if size < longest), longest}):
        for candidates in _CANDIDATES:
            yield _session(run, behaviors, candidates, known_user=True), candidates == _CANDIDATES[0]


def _session(run: Run, behaviors: int, candidates: int, *, known_user: bool) -> Tensors:
    """One random session, `B = 1`, whose places are all real, but for the behaviours of a new user."""
    raw = random_sessions(
        run.scenario.features, run.assets, batch=1, behaviors=behaviors, candidates=candidates, seed=behaviors
    )
    raw["behavior_count"] = tf.constant([behaviors if known_user else 0], tf.int64)
    raw["candidate_count"] = tf.constant([candidates], tf.int64)
    return raw


def _request(run: Run, signature: str, inputs: Tensors) -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = run.scenario.export.model_name
    request.model_spec.signature_name = signature
    for name, tensor in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(tensor.numpy()))
    return request
