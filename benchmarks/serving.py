"""What the embedded server answers on this machine, and what one gate a session saves.

    python -m benchmarks.serving --json

Exports the scenario with random weights, serves it in a process of its own and sends it random
sessions over gRPC on loopback, from this process on the same cores. Measured:

- `sessions_per_second`: a gate and the scores of 100 candidates (50 behaviours), as many as are answered
  while `--clients` send one after the other: the saturating load.
- `p50_ms`, `p99_ms`: of the score calls at half that load, sent at random times; `gate_p50_ms`, `gate_p99_ms`:
  of the gate calls.
- `p50_overhead`: of one score call after the other, the median over that of the bare signature in this process, the
  SavedModel called from Python: 1.3 where the server takes 0.3 of its time on top. `p50_over_model`: over what the
  server itself calls, which spares Python's checks. All on one core, as the server runs a batch.
- `gate_once_vs_each_page`: 5 pages of 20 candidates with the gate computed for each, over the same with one gate.
- `gate_once_vs_each_candidate`: the same pages from a model of the same size with a gate for each candidate
  (`gate.context: target_item`), over the same with one gate.

Not measured: a network, TLS, REST, the time a client takes to make its requests. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from benchmarks.load import calls_per_second, results_at_rate
from benchmarks.medians import medians_ms
from benchmarks.serving_models import once_a_candidate, once_a_session
from pipeline.quiet_tensorflow import quiet_tensorflow

os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
with quiet_tensorflow():
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2

    from export.random_sessions import random_sessions
    from model.run_directory import Run
    from serving.loaded_model import LoadedModel
    from serving.protocol import OUTPUTS, SCORE_ITEMS, SESSION_GATE, signature_inputs

_ROOT = Path(__file__).parent.parent
_PREDICT = "/tensorflow.serving.PredictionService/Predict"
Call = Callable[[], object]


@contextmanager
def served(directory: Path) -> Iterator[Callable[[bytes], object]]:
    """A server's `Predict`, for messages that are written already."""
    command = [sys.executable, str(_ROOT / "awmoe.py"), "serve", str(directory), "--port", "0"]
    with subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            target = process.stdout.readline().strip().rpartition(" on ")[2]
            with grpc.insecure_channel(target) as channel:
                predict = channel.unary_unary(_PREDICT)
                yield lambda message: predict(message, timeout=60, wait_for_ready=True)
        finally:
            process.terminate()


def request_tensors(run: Run, behaviors: int, candidates: int) -> dict[str, tf.Tensor]:
    """One session with as many behaviours and candidates, and a gate."""
    raw = random_sessions(
        run.scenario.features, run.assets, batch=1, behaviors=behaviors, candidates=candidates, seed=1
    )
    raw |= {"behavior_count": tf.constant([behaviors], tf.int64)}
    raw |= {"candidate_count": tf.constant([candidates], tf.int64)}
    gate = np.random.default_rng(1).normal(0.3, 0.1, (1, run.scenario.model.expert_count))
    return raw | {"gate": tf.constant(gate, tf.float32)}


def message(run: Run, tensors: dict[str, tf.Tensor], signature: str) -> bytes:
    """A request as it is sent."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = run.scenario.export.model_name
    request.model_spec.signature_name = signature
    for name in signature_inputs(run.scenario.features)[signature]:
        request.inputs[name].CopyFrom(tf.make_tensor_proto(tensors[name]))
    serialised: bytes = request.SerializeToString()
    return serialised


def half_load(
    predict: Callable[[bytes], object], gate: bytes, score: bytes, rate: float, seconds: float
) -> dict[str, float]:
    """Percentiles of gate and score calls of sessions that come at a rate, in milliseconds."""

    def session(due: float) -> tuple[float, float]:
        predict(gate)
        between = time.perf_counter()
        predict(score)
        return between - due, time.perf_counter() - between

    times = results_at_rate(session, rate, seconds, seed=1) * 1e3
    gate_p50, score_p50 = np.percentile(times, 50, axis=0).tolist()
    gate_p99, score_p99 = np.percentile(times, 99, axis=0).tolist()
    return {"p50_ms": score_p50, "p99_ms": score_p99, "gate_p50_ms": gate_p50, "gate_p99_ms": gate_p99}


def measure(arguments: argparse.Namespace, directory: Path) -> dict[str, float]:
    """All numbers, by the names of the module's docstring."""
    run = once_a_session(arguments.config, directory / "session", arguments.vocabulary)
    model = directory / "session" / run.scenario.export.model_name
    of_candidates = once_a_candidate(arguments.config, directory / "candidate", arguments.vocabulary)

    tensors = request_tensors(run, arguments.behaviors, arguments.candidates)
    page = request_tensors(run, arguments.behaviors, arguments.page_size)
    gate, score, score_page = (
        message(run, tensors, SESSION_GATE),
        message(run, tensors, SCORE_ITEMS),
        message(run, page, SCORE_ITEMS),
    )
    bare: Any = tf.saved_model.load(str(model / "1"))
    signature = bare.signatures[SCORE_ITEMS]
    output = OUTPUTS[SCORE_ITEMS]
    served_model = LoadedModel.load(model / "1")
    arrays = {name: tensors[name].numpy() for name in served_model.inputs[SCORE_ITEMS]}
    pages = range(arguments.pages)

    with ExitStack() as servers:
        predict = servers.enter_context(served(model))
        predict_each = servers.enter_context(served(of_candidates))

        def session() -> None:
            predict(gate)
            predict(score)

        def gate_once() -> None:
            predict(gate)
            for _ in pages:
                predict(score_page)

        def gate_each_page() -> None:
            for _ in pages:
                predict(gate)
                predict(score_page)

        def gate_each_candidate() -> None:
            for _ in pages:
                predict_each(score_page)

        idle = medians_ms(
            {
                "server": lambda: predict(score),
                "bare": lambda: signature(**tensors)[output].numpy(),
                "model": lambda: served_model.run(SCORE_ITEMS, arrays),
            },
            arguments.repeats,
        )
        sessions = medians_ms(
            {"once": gate_once, "each page": gate_each_page, "each candidate": gate_each_candidate}, arguments.repeats
        )
        rate = calls_per_second(session, arguments.clients, arguments.seconds)
        loaded = half_load(predict, gate, score, rate / 2, arguments.seconds)
    return {
        "sessions_per_second": rate,
        **loaded,
        "idle_p50_ms": idle["server"],
        "bare_p50_ms": idle["bare"],
        "p50_overhead": idle["server"] / idle["bare"],
        "p50_over_model": idle["server"] / idle["model"],
        "gate_once_session_ms": sessions["once"],
        "gate_once_vs_each_page": sessions["each page"] / sessions["once"],
        "gate_once_vs_each_candidate": sessions["each candidate"] / sessions["once"],
    }


def main() -> None:
    """Runs the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=_ROOT / "configs" / "search.yaml", help="scenario file")
    parser.add_argument("--vocabulary", type=int, default=4000, help="values of each embedding table")
    parser.add_argument("--candidates", type=int, default=100)
    parser.add_argument("--behaviors", type=int, default=50)
    parser.add_argument("--pages", type=int, default=5, help="of the sessions that compare gates")
    parser.add_argument("--page-size", type=int, default=20)
    parser.add_argument("--clients", type=int, default=16, help="at the saturating load")
    parser.add_argument("--seconds", type=float, default=15.0, help="of each of the two loads")
    parser.add_argument("--repeats", type=int, default=100, help="of each call that is timed alone")
    parser.add_argument("--json", action="store_true", help="the last line alone")
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as directory:
        numbers = measure(arguments, Path(directory))
    if not arguments.json:
        for name, number in numbers.items():
            print(f"{name:<28} {number:10.2f}")
    print(json.dumps({name: round(number, 3) for name, number in numbers.items()}))


if __name__ == "__main__":
    main()
