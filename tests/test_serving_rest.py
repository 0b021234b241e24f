"""REST beside gRPC: the same answers, TensorFlow Serving's forms, errors with their codes, metrics, TLS, health."""

from __future__ import annotations

import base64
import http.client
import json
import shutil
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
import trustme
from click.testing import CliRunner
from exported_tiny_model import exported_tiny_model
from grpc_health.v1 import health_pb2, health_pb2_grpc
from served_requests import INPUTS, predict_request, request_arrays, rest_body
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
)

import awmoe
from pipeline.errors import InputError
from serving.loaded_model import LoadedModel
from serving.model_versions import ModelVersions
from serving.server import ModelServer
from serving.server_tls import ServerTls

PREDICT = "/v1/models/awmoe:predict"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Versions 1 and 2."""
    return exported_tiny_model(tmp_path_factory.mktemp("exported"), versions=2)


@pytest.fixture(scope="module")
def server(model: Path) -> Iterator[ModelServer]:
    with ModelServer(model, rest_port=0, labels={"stable": 1}, max_request_bytes=200_000) as server:
        yield server


@pytest.fixture(scope="module")
def stub(server: ModelServer) -> Iterator[prediction_service_pb2_grpc.PredictionServiceStub]:
    with grpc.insecure_channel(server.target) as channel:
        yield prediction_service_pb2_grpc.PredictionServiceStub(channel)


def rest(
    server: ModelServer,
    path: str,
    body: Any = None,
    *,
    tls: ssl.SSLContext | None = None,
    timeout: float = 60,
) -> tuple[int, Any]:
    """The HTTP code and the answer; `body` is JSON, or bytes as they are."""
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    url = f"{'https' if tls else 'http'}://{server.rest_target}{path}"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data), timeout=timeout, context=tls) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@pytest.mark.parametrize(("signature", "output"), [("session_gate", "gate"), ("score_items", "scores")])
@pytest.mark.parametrize(("where", "version"), [("", 2), ("/versions/1", 1), ("/labels/stable", 1)])
def test_rest_answers_what_grpc_answers(
    signature: str,
    output: str,
    where: str,
    version: int,
    server: ModelServer,
    stub: prediction_service_pb2_grpc.PredictionServiceStub,
) -> None:
    arrays = request_arrays(signature, batch=2)
    request = predict_request(arrays, signature)
    request.model_spec.version.value = version
    expected = tf.make_ndarray(stub.Predict(request, timeout=60).outputs[output])

    code, answer = rest(server, f"/v1/models/awmoe{where}:predict", rest_body(arrays, signature))
    assert (code, list(answer)) == (200, ["outputs"])
    np.testing.assert_allclose(answer["outputs"], expected, atol=1e-6)


def test_labels_over_grpc(server: ModelServer, stub: prediction_service_pb2_grpc.PredictionServiceStub) -> None:
    request = predict_request(request_arrays("session_gate"), "session_gate")
    request.model_spec.version_label = "stable"
    assert stub.Predict(request, timeout=60).model_spec.version.value == 1
    metadata = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    metadata.model_spec.name, metadata.model_spec.version_label = "awmoe", "stable"
    assert stub.GetModelMetadata(metadata, timeout=60).model_spec.version.value == 1

    request.model_spec.version_label = "canary"
    with pytest.raises(grpc.RpcError) as caught:
        stub.Predict(request, timeout=60)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert caught.value.details() == "no version labelled `canary`; this server has `stable`"


def test_strings_in_base64_and_missing_numbers(server: ModelServer) -> None:
    arrays = request_arrays("score_items")
    body = rest_body(arrays, "score_items")
    _, expected = rest(server, PREDICT, body)
    terms = base64.b64encode(arrays["query_terms"][0]).decode()
    body["inputs"]["query_terms"] = [{"b64": terms}]
    assert rest(server, PREDICT, body) == (200, expected)

    body["inputs"]["candidate_rating"] = [[float("nan")] * 5]  # optional
    code, answer = rest(server, PREDICT, body)
    assert code == 200
    assert np.isfinite(answer["outputs"]).all()
    body["inputs"]["candidate_price"] = [[float("nan")] * 5]
    code, answer = rest(server, PREDICT, body)
    assert (code, "`candidate_price`: must be finite and not negative, not nan" in answer["error"]) == (400, True)


def test_status_and_metadata(server: ModelServer) -> None:
    def available(version: int) -> dict[str, Any]:
        status = {"error_code": "OK", "error_message": ""}
        return {"version": str(version), "state": "AVAILABLE", "status": status}

    assert rest(server, "/v1/models/awmoe") == (200, {"model_version_status": [available(2), available(1)]})
    assert rest(server, "/v1/models/awmoe/versions/2") == (200, {"model_version_status": [available(2)]})
    assert rest(server, "/v1/models/awmoe/labels/stable") == (200, {"model_version_status": [available(1)]})

    code, answer = rest(server, "/v1/models/awmoe/labels/stable/metadata")
    assert (code, answer["model_spec"]) == (200, {"name": "awmoe", "signature_name": "", "version": "1"})
    signatures = answer["metadata"]["signature_def"]["signature_def"]
    assert set(signatures["score_items"]["inputs"]) == set(INPUTS["score_items"])
    assert signatures["score_items"]["inputs"]["candidate_price"]["dtype"] == "DT_FLOAT"


def changed(**inputs: Any) -> dict[str, Any]:
    body = rest_body(request_arrays("score_items"), "score_items")
    body["inputs"] |= inputs
    return body


WRONG: list[tuple[str, Any, int, str]] = [
    (PREDICT, b"{", 400, "the body is no JSON: "),
    (PREDICT, b"\xff\xfe\x00", 400, "the body is no JSON: "),
    (PREDICT, b"[" * 100_000, 400, "the body is no JSON: "),
    (PREDICT, b"9" * 5_000, 400, "the body is no JSON: "),
    (PREDICT, [1], 400, "the body must be an object"),
    (PREDICT, {"instances": [{}]}, 400, "`instances` (row format) is not supported"),
    (PREDICT, {"signature_name": "score_items"}, 400, "the body has no `inputs`"),
    (PREDICT, {"inputs": {}}, 400, "signature `serving_default`: unknown; the model has session_gate and score_items"),
    (PREDICT, {"signature_name": 3, "inputs": {}}, 400, "`signature_name` must be a string"),
    (PREDICT, {"signature_name": "session_gate", "inputs": [1]}, 400, "`inputs` must be an object"),
    (PREDICT, {"signature_name": "session_gate", "inputs": {}}, 400, "missing input `behavior_item_id`"),
    (PREDICT, changed(colour=[1]), 400, "unknown input `colour`"),
    (PREDICT, changed(candidate_price=3), 400, "input `candidate_price` must have shape [B, N]: a list of lists"),
    (PREDICT, changed(candidate_price=[3]), 400, "input `candidate_price` must have shape [B, N]: a list of lists"),
    (PREDICT, changed(candidate_price=[]), 400, "input `candidate_price`: no sessions"),
    (PREDICT, changed(candidate_price=[[1, 2], [3]]), 400, "its lists have different lengths; pad them"),
    (PREDICT, changed(candidate_price=[[1, 2]]), 400, "input `candidate_price`: N is 2, but 5 in"),
    (PREDICT, changed(candidate_price=[["1"] * 5]), 400, "each value must be a number, not '1'"),
    (PREDICT, changed(candidate_price=[[None] * 5]), 400, "each value must be a number, not None"),
    (PREDICT, changed(candidate_price=[[True] * 5]), 400, "each value must be a number, not True"),
    (PREDICT, changed(candidate_price=[[1e39] * 5]), 400, "must be finite and not negative, not inf"),
    (PREDICT, changed(candidate_price=[[10**400] * 5]), 400, "an integer that float32 cannot hold"),
    (PREDICT, changed(candidate_count=[5.0]), 400, "each value must be an integer, not 5.0"),
    (PREDICT, changed(candidate_count=[2**70]), 400, "an integer that int64 cannot hold"),
    (PREDICT, changed(query_terms=[3]), 400, 'each value must be a string or {"b64": ...}, not 3'),
    (PREDICT, changed(query_terms=["\ud800"]), 400, "must be Unicode text"),
    (PREDICT, changed(query_terms=[{"b64": "x"}]), 400, "is no base64"),
    (PREDICT, changed(query_terms=[{"b65": "eA=="}]), 400, 'an object must be {"b64": "..."}'),
    ("/v1/models/other:predict", changed(), 404, "no model `other`; this server has `awmoe`"),
    ("/v1/models/awmoe/versions/9:predict", changed(), 404, "no version 9 of `awmoe`; loaded: 1 and 2"),
    ("/v1/models/awmoe/versions/x:predict", changed(), 400, "`x` is no version number"),
    ("/v1/models/awmoe/labels/canary:predict", changed(), 404, "no version labelled `canary`"),
    ("/v1/models/awmoe/labels/canary", None, 404, "no version labelled `canary`"),
    ("/v1/models/other/metadata", None, 404, "no model `other`"),
    ("/v2/models/awmoe", None, 404, "404: Not Found"),
    ("/v1/models/awmoe:classify", {}, 405, "405: Method Not Allowed"),
    (PREDICT, b" " * 200_001, 413, "Maximum request body size 200000 exceeded"),
]


@pytest.mark.parametrize(("path", "body", "code", "reason"), WRONG, ids=[f"{case[2]} {case[3][:50]}" for case in WRONG])
def test_a_wrong_request_gets_its_reason(path: str, body: Any, code: int, reason: str, server: ModelServer) -> None:
    status, answer = rest(server, path, body)
    assert (status, list(answer)) == (code, ["error"])
    assert reason in answer["error"]


def metrics(server: ModelServer) -> dict[str, float]:
    with urllib.request.urlopen(f"http://{server.rest_target}/monitoring/prometheus/metrics", timeout=60) as answer:
        lines = answer.read().decode().splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}


def test_metrics(server: ModelServer) -> None:
    before = metrics(server)
    rest(server, PREDICT, rest_body(request_arrays("score_items"), "score_items"))
    rest(server, PREDICT, changed(candidate_price=[[-1] * 5]))
    rest(server, PREDICT, {"signature_name": "made up", "inputs": {}})
    after = metrics(server)

    def grown(name: str) -> float:
        return after[name] - before.get(name, 0)

    assert grown('awmoe_requests_total{code="OK",signature="score_items"}') == 1
    assert grown('awmoe_requests_total{code="INVALID_ARGUMENT",signature="score_items"}') == 1
    assert grown('awmoe_requests_total{code="INVALID_ARGUMENT",signature="other"}') == 1
    assert grown('awmoe_request_seconds_count{signature="score_items"}') == 2
    assert grown('awmoe_batch_requests_count{signature="score_items"}') == 1
    assert grown('awmoe_batch_sessions_sum{signature="score_items"}') == 1
    assert after["awmoe_queue_length"] == 0
    assert (after['awmoe_version_loaded{version="1"}'], after['awmoe_version_loaded{version="2"}']) == (0, 1)
    assert not any("made up" in name for name in after)


def test_servers_do_not_share_metrics(server: ModelServer, model: Path) -> None:
    with ModelServer(model, rest_port=0) as other:
        assert not any(name.startswith("awmoe_requests_total") for name in metrics(other))


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_labelled_version_outlives_roll_outs(model: Path, tmp_path: Path) -> None:
    directory = tmp_path / "awmoe"
    shutil.copytree(model / "1", directory / "1")
    with pytest.raises(InputError, match=r"label `canary`: .*awmoe has no version 7"):
        ModelServer(directory, labels={"canary": 7})
    versions = ModelVersions(directory, {"stable": 1})
    for version in (2, 3, 4):
        shutil.copytree(model / "2", directory / str(version))
        for _ in range(2):
            versions.refresh()
        assert versions.current.version == version
    shutil.rmtree(directory / "1")
    versions.refresh()
    assert [loaded.version for loaded in versions.loaded] == [1, 3, 4]


@pytest.fixture
def slow_model(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Models answer when the event is set: at first it is, for the warm-up."""
    may_run = threading.Event()
    may_run.set()
    run = LoadedModel.run

    def slow(self: LoadedModel, signature: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        may_run.wait(60)
        return run(self, signature, inputs)

    monkeypatch.setattr(LoadedModel, "run", slow)
    yield may_run
    may_run.set()


def test_a_busy_server_refuses_and_honours_deadlines(model: Path, slow_model: threading.Event) -> None:
    request = predict_request(request_arrays("session_gate"), "session_gate")
    body = rest_body(request_arrays("session_gate"), "session_gate")
    with (
        ModelServer(model, rest_port=0, workers=1, max_waiting=2, seconds=2.0) as server,
        grpc.insecure_channel(server.target) as channel,
    ):
        slow_model.clear()
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        running = stub.Predict.future(request, timeout=60)
        wait_until(lambda: metrics(server).get('awmoe_batch_requests_count{signature="session_gate"}') == 1)

        cancelled = stub.Predict.future(request, timeout=60)
        wait_until(lambda: metrics(server)["awmoe_queue_length"] == 1)
        cancelled.cancel()
        late = stub.Predict.future(request, timeout=1.0)
        assert late.exception().code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert rest(server, PREDICT, body)[0] == 504, "the server's own deadline"

        waiting = [stub.Predict.future(request, timeout=60) for _ in range(2)]
        wait_until(lambda: metrics(server)["awmoe_queue_length"] == 2)
        started = time.monotonic()
        with pytest.raises(grpc.RpcError) as caught:
            stub.Predict(request, timeout=60)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        code, answer = rest(server, PREDICT, body)
        assert (code, "the queue is full" in answer["error"]) == (429, True)
        assert time.monotonic() - started < 10

        slow_model.set()
        for answered in (running, *waiting):
            assert len(answered.result(timeout=60).outputs) == 1
        sums = metrics(server)
    assert sums['awmoe_batch_requests_sum{signature="session_gate"}'] == 3, "nobody waited for the others"


def test_it_reports_not_serving_and_goes_on_answering_before_it_stops(model: Path) -> None:
    server = ModelServer(model, rest_port=0, drain=1.5)
    request = predict_request(request_arrays("session_gate"), "session_gate")
    serving, not_serving = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
    with grpc.insecure_channel(server.target) as channel:
        health = health_pb2_grpc.HealthStub(channel)

        def states() -> set[int]:
            services = ("", "awmoe")
            return {health.Check(health_pb2.HealthCheckRequest(service=s), timeout=60).status for s in services}

        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        stub.Predict(request, timeout=60)
        assert states() == {serving}
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        wait_until(lambda: states() == {not_serving})
        assert stub.Predict(request, timeout=60).model_spec.version.value == 2
        assert rest(server, "/v1/models/awmoe")[0] == 200
        stopping.join(60)
        with pytest.raises(grpc.RpcError) as caught:
            stub.Predict(request, timeout=5)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def tls_files(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> ServerTls:
    directory = tmp_path_factory.mktemp("tls")
    issued = authority.issue_cert("localhost", "127.0.0.1")
    files = ServerTls(directory / "server.pem", directory / "server.key", directory / "ca.pem")
    for path, pem in zip(
        (files.certificate, files.key), (issued.cert_chain_pems[0], issued.private_key_pem), strict=True
    ):
        path.write_bytes(pem.bytes())
    authority.cert_pem.write_to_path(str(files.client_ca))
    return files


@pytest.mark.parametrize("mutual", [False, True])
def test_tls(mutual: bool, model: Path, authority: trustme.CA, tls_files: ServerTls) -> None:
    files = ServerTls(tls_files.certificate, tls_files.key, tls_files.client_ca if mutual else None)
    client = authority.issue_cert("client@example.org")
    root, chain, key = authority.cert_pem.bytes(), client.cert_chain_pems[0].bytes(), client.private_key_pem.bytes()
    status = get_model_status_pb2.GetModelStatusRequest()
    status.model_spec.name = "awmoe"

    def grpc_code(target: str, credentials: grpc.ChannelCredentials) -> grpc.StatusCode:
        with grpc.secure_channel(target, credentials) as channel:
            try:
                model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(status, timeout=20)
            except grpc.RpcError as error:
                return error.code()
            return grpc.StatusCode.OK

    with ModelServer(model, rest_port=0, tls=files) as server:
        known = ssl.create_default_context()
        authority.configure_trust(known)
        client.configure_cert(known)
        assert rest(server, "/v1/models/awmoe", tls=known)[0] == 200
        assert grpc_code(server.target, grpc.ssl_channel_credentials(root, key, chain)) is grpc.StatusCode.OK

        stranger = ssl.create_default_context()
        authority.configure_trust(stranger)
        if mutual:
            with pytest.raises(OSError):  # noqa: PT011 - how the connection ends depends on who is first
                rest(server, "/v1/models/awmoe", tls=stranger, timeout=20)
            assert grpc_code(server.target, grpc.ssl_channel_credentials(root)) is grpc.StatusCode.UNAVAILABLE
        else:
            assert rest(server, "/v1/models/awmoe", tls=stranger)[0] == 200
        with pytest.raises((OSError, http.client.HTTPException)):
            rest(server, "/v1/models/awmoe", timeout=20)  # in the clear


def test_wrong_tls_files_are_one_clear_line(model: Path, tls_files: ServerTls, tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("nothing")
    with pytest.raises(InputError, match=r"TLS: .* are no certificate and its key"):
        ModelServer(model, tls=ServerTls(tmp_path / "absent", tls_files.key))
    with pytest.raises(InputError, match=r"TLS: .*empty has no certificates"):
        ModelServer(model, tls=ServerTls(tls_files.certificate, tls_files.key, tmp_path / "empty"))


def test_a_taken_rest_port_is_one_clear_line(server: ModelServer, model: Path) -> None:
    port = int((server.rest_target or "").rpartition(":")[2])
    with pytest.raises(InputError, match=f"127.0.0.1:{port}: cannot listen there"):
        ModelServer(model, rest_port=port)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--label", "canary"], "--label canary: must be NAME=VERSION, such as canary=7"),
        (["--label", "a=1", "--label", "a=2"], "--label a: given twice, with versions 1 and 2"),
        (["--tls-certificate", "x.pem"], "give --tls-certificate and --tls-key together"),
        (["--tls-client-ca", "x.pem"], "--tls-client-ca needs --tls-certificate and --tls-key"),
    ],
)
def test_options_that_do_not_go_together(options: list[str], message: str) -> None:
    answer = CliRunner().invoke(awmoe.cli, ["serve", "models/awmoe", *options])
    assert (answer.exit_code, message in answer.output) == (2, True), answer.output


def test_the_status_begins_with_what_answers_by_default(model: Path, tmp_path: Path) -> None:
    directory = tmp_path / model.name
    shutil.copytree(model, directory)
    with ModelServer(directory, rest_port=0, poll_seconds=0.05) as server:

        def versions() -> list[str]:
            return [state["version"] for state in rest(server, "/v1/models/" + model.name)[1]["model_version_status"]]

        shutil.copytree(model / "2", directory / "3")
        wait_until(lambda: versions() == ["3", "2"])
        shutil.rmtree(directory / "3")  # taken back; it stays for the sessions that it began
        wait_until(lambda: versions() == ["2", "3"])
        code, answer = rest(server, f"/v1/models/{model.name}:predict")
        assert (code, "Method Not Allowed" in answer["error"]) == (405, True)


def test_the_servers_own_deadline_holds_for_what_an_idle_server_runs_at_once(
    model: Path, slow_model: threading.Event
) -> None:
    request = predict_request(request_arrays("session_gate"), "session_gate")
    with ModelServer(model, seconds=0.2) as server, grpc.insecure_channel(server.target) as channel:
        slow_model.clear()
        threading.Timer(0.6, slow_model.set).start()
        with pytest.raises(grpc.RpcError) as caught:
            prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
