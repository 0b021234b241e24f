"""More than 10,000 wrong requests: each gets a proper status, good ones in between their scores, memory stays."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import numpy as np
import pytest
import tensorflow as tf
from exported_tiny_model import exported_tiny_model
from served_requests import rest_body
from tensorflow_serving.apis import predict_pb2
from wrong_requests import WrongRequests

from serving.loaded_model import LoadedModel

ROOT = Path(__file__).parent.parent
PREDICT = "/tensorflow.serving.PredictionService/Predict"
OTHERS = [
    "/tensorflow.serving.PredictionService/GetModelMetadata",
    "/tensorflow.serving.PredictionService/Classify",
    "/tensorflow.serving.ModelService/GetModelStatus",
    "/tensorflow.serving.ModelService/HandleReloadConfigRequest",
    "/grpc.health.v1.Health/Check",
]
#: Requests sent before earlier ones are answered; fewer than the server's queue takes.
WINDOW = 64
#: What the server's memory may grow by, in MiB, after the first requests.
MOST_GROWTH = 64


class Server(NamedTuple):
    """A server in a process of its own."""

    pid: int
    target: str
    rest_target: str

    def memory(self) -> float:
        """Resident, in MiB."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        return int(status.split("VmRSS:")[1].split()[0]) / 1024


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported_tiny_model(tmp_path_factory.mktemp("exported"))


@pytest.fixture(scope="module")
def server(model: Path) -> Iterator[Server]:
    command = [sys.executable, str(ROOT / "awmoe.py"), "serve", str(model), "--port", "0", "--rest-port", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            target = process.stdout.readline().strip().rpartition(" on ")[2]
            rest_target = process.stdout.readline().strip().rpartition("//")[2]
            yield Server(process.pid, target, rest_target)
        finally:
            process.kill()


@pytest.fixture(scope="module")
def expected(model: Path) -> list[np.ndarray]:
    """The right outputs of `WrongRequests.good`."""
    loaded = LoadedModel.load(model / "1")
    return [next(iter(loaded.run(s, arrays).values())) for s, arrays, _ in WrongRequests(0).good()]


@pytest.mark.slow
def test_ten_thousand_wrong_grpc_messages(server: Server, expected: list[np.ndarray]) -> None:
    requests = WrongRequests(seed=1)
    good = [message.SerializeToString() for _, _, message in requests.good()]
    found: Counter[tuple[str, str]] = Counter()
    waiting: deque[tuple[str, int, Any]] = deque()

    def check_oldest() -> None:
        what, index, future = waiting.popleft()
        code = future.code()
        found[what, code.name] += 1
        if what == "good":
            assert code is grpc.StatusCode.OK, future.details()
            (output,) = predict_pb2.PredictResponse.FromString(future.result()).outputs.values()
            np.testing.assert_allclose(tf.make_ndarray(output), expected[index], atol=1e-5)
        elif what == "flipped":
            assert code.name in {"OK", "INVALID_ARGUMENT", "NOT_FOUND"}, (code, future.details())
        elif what == "another method":
            assert code.name in {"INVALID_ARGUMENT", "NOT_FOUND", "UNIMPLEMENTED"}, (code, future.details())
        else:
            assert code.name in {"INVALID_ARGUMENT", "NOT_FOUND"}, (what, code, future.details())

    with grpc.insecure_channel(server.target) as channel:
        predict = channel.unary_unary(PREDICT)  # bytes as they are
        predict(good[0], timeout=120, wait_for_ready=True)
        before = 0.0
        for number in range(9_500):
            if number == 1_000:
                before = server.memory()
            index = number % len(good)
            if number % 50 == 0:
                waiting.append(("good", index, predict.future(good[index], timeout=120)))
            elif number % 50 == 1:
                method = channel.unary_unary(OTHERS[(number // 50) % len(OTHERS)])
                # as bytes of one of these messages, never an empty one: that asks for the server's health
                waiting.append(("another method", index, method.future(b"\xff" + requests.message()[1], timeout=120)))
            elif number % 10 == 2:
                waiting.append(("flipped", index, predict.future(requests.flipped(), timeout=120)))
            else:
                what, message = requests.message()
                waiting.append((what, index, predict.future(message, timeout=120)))
            if len(waiting) > WINDOW:
                check_oldest()
        while waiting:
            check_oldest()
        growth = server.memory() - before
    assert found["good", "OK"] == 190
    assert len({what for what, _ in found}) == 23, "every kind of mistake was made"
    assert growth < MOST_GROWTH, f"{growth:.0f} MiB more"


@pytest.mark.slow
def test_wrong_rest_requests(server: Server, expected: list[np.ndarray]) -> None:
    requests = WrongRequests(seed=2)
    good = [json.dumps(rest_body(arrays, signature)) for signature, arrays, _ in requests.good()]
    connection = http.client.HTTPConnection(server.rest_target, timeout=120)
    before = 0.0
    for number in range(2_000):
        if number == 300:
            before = server.memory()
        path, body = requests.rest()
        if number % 50 == 0:
            connection.request("POST", "/v1/models/awmoe:predict", good[number % len(good)])
            answer = connection.getresponse()
            outputs = json.loads(answer.read())["outputs"]
            assert answer.status == 200
            np.testing.assert_allclose(outputs, expected[number % len(good)], atol=1e-5)
            continue
        connection.request("POST", path, body)
        answer = connection.getresponse()
        content = answer.read()
        assert answer.status in {400, 404, 405}, (path, body[:500], content)
        assert list(json.loads(content)) == ["error"]
    connection.close()
    growth = server.memory() - before
    assert growth < MOST_GROWTH, f"{growth:.0f} MiB more"


def test_what_is_no_http_is_refused(server: Server) -> None:
    host, _, port = server.rest_target.rpartition(":")
    rng = np.random.default_rng(3)
    for garbage in (b"GET\r\n\r\n", b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", rng.bytes(200) + b"\r\n\r\n"):
        with socket.create_connection((host, int(port)), timeout=60) as client:
            client.sendall(garbage)
            assert client.recv(12) in {b"HTTP/1.0 400", b"HTTP/1.1 400", b""}
