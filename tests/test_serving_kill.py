"""A server that dies under load, and one that is asked to stop: no request hangs, those in flight are answered."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import grpc
import pytest
from exported_tiny_model import exported_tiny_model
from served_requests import predict_request, request_arrays
from tensorflow_serving.apis import prediction_service_pb2_grpc

from serving.client import SessionRanker
from serving.errors import RankingError
from serving.request import Session
from tiny_data import tiny_scenario

ROOT = Path(__file__).parent.parent
CLIENTS = 24
TIMEOUT = 5.0
SESSION = Session(query={"terms": "term_1"}, user={"activity": 3})
PAGE = [{"item_id": f"item_{i}", "price": 2.0 * i, "item_purchases": i} for i in range(20)]


class Ended(NamedTuple):
    """A call: when it was sent and ended, and its status."""

    started: float
    ended: float
    code: str


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported_tiny_model(tmp_path_factory.mktemp("exported"))


@pytest.fixture
def server(model: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process and where it listens."""
    options = ["--port", "0", "--rest-port", "0", "--grace", "30"]
    command = [sys.executable, str(ROOT / "awmoe.py"), "serve", str(model), *options]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline().strip().rpartition(" on ")[2]
        finally:
            process.kill()


def test_a_killed_server_leaves_no_request_hanging(server: tuple[subprocess.Popen[str], str]) -> None:
    process, target = server
    stop = threading.Event()
    answered = 0

    def rank_until_stopped(ranker: SessionRanker) -> list[Ended]:
        nonlocal answered
        calls = []
        while not stop.is_set():
            started, code = time.monotonic(), "OK"
            try:
                ranker.open_session(SESSION).score(PAGE)
                answered += 1
            except RankingError as error:
                code = error.code
                time.sleep(0.05)
            calls.append(Ended(started, time.monotonic(), code))
        return calls

    with (
        SessionRanker(target, tiny_scenario().features, timeout=TIMEOUT) as ranker,
        ThreadPoolExecutor(CLIENTS) as pool,
    ):
        ranker.wait_until_ready(120)
        futures = [pool.submit(rank_until_stopped, ranker) for _ in range(CLIENTS)]
        deadline = time.monotonic() + 60
        while answered < 2 * CLIENTS and time.monotonic() < deadline:
            time.sleep(0.1)
        killed = time.monotonic()
        process.kill()
        process.wait(timeout=60)
        dead = time.monotonic()
        time.sleep(TIMEOUT + 1)
        stop.set()
        calls = [call for future in futures for call in future.result(timeout=60)]

    assert answered >= CLIENTS, "the load was none"
    in_flight = [call for call in calls if call.started < killed < call.ended]
    assert in_flight
    assert {call.code for call in calls if call.started > dead} <= {"UNAVAILABLE", "DEADLINE_EXCEEDED"}
    # opening a session and scoring it have a timeout each
    slowest = max(call.ended - call.started for call in calls)
    assert slowest < 2 * TIMEOUT + 1


def accepted(metrics: str) -> float:
    """Requests that wait, run or were run."""
    with urllib.request.urlopen(metrics, timeout=60) as answer:
        lines = answer.read().decode().splitlines()
    wanted = ("awmoe_queue_length", "awmoe_batch_requests_sum")
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(wanted))


def test_requests_in_flight_at_sigterm_are_answered(server: tuple[subprocess.Popen[str], str]) -> None:
    process, target = server
    request = predict_request(request_arrays("score_items", batch=8, behaviors=20, candidates=40), "score_items")
    assert process.stdout is not None
    metrics = process.stdout.readline().strip().removeprefix("REST on ") + "/monitoring/prometheus/metrics"
    with grpc.insecure_channel(target) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        stub.Predict(request, timeout=60, wait_for_ready=True)
        futures = [stub.Predict.future(request, timeout=60) for _ in range(40)]
        deadline = time.monotonic() + 60
        while accepted(metrics) < 1 + len(futures):
            assert time.monotonic() < deadline, "the requests did not arrive"
        process.send_signal(signal.SIGTERM)
        codes = [future.code() for future in futures]
        assert codes == [grpc.StatusCode.OK] * len(futures)
        assert process.wait(timeout=120) == 0  # one that hangs ends before, and tells where
        with pytest.raises(grpc.RpcError) as caught:
            stub.Predict(request, timeout=10)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


HUNG = """
import signal, sys, threading, time
from pathlib import Path
from serving import server
from serving.server import ModelServer

def tell() -> None:
    while signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        time.sleep(0.01)
    print("ready", flush=True)

server._SPARE_SECONDS = 0.5
threading.Thread(target=tell, daemon=True).start()
with ModelServer(Path(sys.argv[1]), grace=0.5) as hung:
    hung._predictor.close = threading.Event().wait
    hung.wait()
"""


def test_a_server_that_cannot_end_is_ended_and_tells_where_it_hung(model: Path) -> None:
    command = [sys.executable, "-c", HUNG, str(model)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            process.send_signal(signal.SIGTERM)
            _, told = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 1, told
    assert "in stop" in told, "the stack says where"
