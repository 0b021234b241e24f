"""The embedded server over gRPC: answers, reasons for bad requests, and roll-outs."""

from __future__ import annotations

import gc
import logging
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from random_run import random_run
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_log_pb2,
    prediction_service_pb2_grpc,
)

from export.publish import export
from export.warmup_file import WARMUP_FILE, read_warmup
from model.run_directory import Run
from pipeline.errors import InputError
from serving.model_versions import ModelVersions
from serving.protocol import signature_inputs
from serving.server import ModelServer
from serving.validation import InvalidRequest, check_scores
from tiny_data import random_raw_sessions, tiny_scenario

ROOT = Path(__file__).parent.parent
AVAILABLE = get_model_status_pb2.ModelVersionStatus.AVAILABLE
END = get_model_status_pb2.ModelVersionStatus.END


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return random_run(tiny_scenario(), tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def model(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(run, tmp_path_factory.mktemp("models")).parent


@pytest.fixture(scope="module")
def server(model: Path) -> Iterator[ModelServer]:
    with ModelServer(model) as server:
        yield server


@pytest.fixture(scope="module")
def stub(server: ModelServer) -> Iterator[prediction_service_pb2_grpc.PredictionServiceStub]:
    with grpc.insecure_channel(server.target) as channel:
        yield prediction_service_pb2_grpc.PredictionServiceStub(channel)


def tensors(run: Run, signature: str) -> dict[str, np.ndarray]:
    """Inputs of a good request: 3 sessions, T = 4, N = 5."""
    raw: dict[str, np.ndarray] = random_raw_sessions(run.scenario, batch=3, behaviors=4, candidates=5, seed=7)
    raw["gate"] = np.array([[0.5, -0.1, 0.2]] * 3, np.float32)
    return {name: raw[name] for name in signature_inputs(run.scenario.features)[signature]}


def request_of(inputs: dict[str, np.ndarray], signature: str) -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "awmoe", signature
    for name, values in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(values))
    return request


def refused(call: Callable[..., Any], request: Any) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call(request, timeout=60)
    return caught.value.code().name, caught.value.details()


def test_both_signatures_answer_as_the_trained_model(
    run: Run, stub: prediction_service_pb2_grpc.PredictionServiceStub
) -> None:
    raw = tensors(run, "score_items")
    encoded = run.preprocessing({name: tf.constant(values) for name, values in raw.items()})
    gate = run.model.session_gate(encoded)
    scores = run.model.scores(run.model.score_items(encoded, gate))

    answer = stub.Predict(request_of(tensors(run, "session_gate"), "session_gate"), timeout=60)
    assert (answer.model_spec.name, answer.model_spec.version.value) == ("awmoe", 1)
    assert answer.model_spec.signature_name == "session_gate"
    np.testing.assert_allclose(tf.make_ndarray(answer.outputs["gate"]), gate, atol=1e-5)

    request = request_of({**raw, "gate": gate.numpy()}, "score_items")
    request.model_spec.version.value = 1
    answer = stub.Predict(request, timeout=60)
    assert list(answer.outputs) == ["scores"]
    real = np.arange(5) < raw["candidate_count"][:, None]
    np.testing.assert_allclose(tf.make_ndarray(answer.outputs["scores"])[real], scores.numpy()[real], atol=1e-5)


def test_missing_optional_numbers_and_padding_are_no_error(
    run: Run, stub: prediction_service_pb2_grpc.PredictionServiceStub
) -> None:
    raw = tensors(run, "score_items")
    raw["candidate_rating"][:] = np.nan
    beyond = np.arange(4) >= raw["behavior_count"][:, None]
    raw["behavior_price"] = np.where(beyond, np.float32("nan"), raw["behavior_price"])  # hidden by the count
    scores = tf.make_ndarray(stub.Predict(request_of(raw, "score_items"), timeout=60).outputs["scores"])
    assert np.isfinite(scores[np.arange(5) < raw["candidate_count"][:, None]]).all()


BAD_INPUTS: list[tuple[dict[str, Any], str]] = [
    ({"candidate_price": None}, "missing input `candidate_price`; the signature takes behavior_item_id"),
    ({"candidate_colour": np.zeros((3, 5), np.float32)}, "unknown input `candidate_colour`"),
    ({"candidate_price": np.zeros((3, 5))}, "input `candidate_price` must be float32, not float64"),
    ({"candidate_brand": np.zeros((3, 5), np.int64)}, "input `candidate_brand` must be string, not int64"),
    ({"candidate_price": np.zeros(3, np.float32)}, "input `candidate_price` must have shape [B, N], not [3]"),
    ({"query_terms": np.full((3, 1), "x", object)}, "input `query_terms` must have shape [B], not [3, 1]"),
    ({"query_terms": np.full(2, "x", object)}, "input `query_terms`: B is 2, but 3 in `behavior_item_id`"),
    ({"candidate_price": np.zeros((3, 6), np.float32)}, "input `candidate_price`: N is 6, but 5 in"),
    ({"behavior_price": np.zeros((3, 3), np.float32)}, "input `behavior_price`: T is 3, but 4 in"),
    ({"behavior_item_id": np.zeros((3, 0), object)}, "no behaviours (shape [3, 0]); without behaviours send T = 1"),
    ({"candidate_item_id": np.zeros((3, 0), object)}, "input `candidate_item_id`: no candidates (shape [3, 0])"),
    ({"gate": np.zeros((3, 2), np.float32)}, "input `gate`: K is 2, but 3 in the model"),
    ({"gate": np.full((3, 3), np.nan, np.float32)}, "input `gate` must be finite"),
    ({"candidate_count": np.array([1, 0, 1])}, "input `candidate_count`: 0 candidates in session 1; must be 1 to 5"),
    ({"candidate_count": np.array([1, 1, 6])}, "input `candidate_count`: 6 candidates in session 2; must be 1 to 5"),
    ({"behavior_count": np.array([-1, 0, 1])}, "input `behavior_count`: -1 behaviours in session 0; must be 0 to 4"),
    ({"behavior_count": np.array([0, 5, 1])}, "input `behavior_count`: 5 behaviours in session 1; must be 0 to 4"),
    ({"user_activity": np.full(3, np.nan, np.float32)}, "`user_activity`: must be finite and not negative, not nan"),
    (
        {"candidate_price": np.full((3, 5), -2, np.float32)},
        "`candidate_price`: must be finite and not negative, not -2",
    ),
    ({"candidate_rating": np.full((3, 5), np.inf, np.float32)}, "must be finite, or NaN for missing, not inf"),
]


@pytest.mark.parametrize(("changed", "message"), BAD_INPUTS, ids=[message[:50] for _, message in BAD_INPUTS])
def test_a_bad_request_gets_its_reason(
    changed: dict[str, Any], message: str, run: Run, stub: prediction_service_pb2_grpc.PredictionServiceStub
) -> None:
    inputs = {**tensors(run, "score_items"), **changed}
    request = request_of({name: values for name, values in inputs.items() if values is not None}, "score_items")
    code, details = refused(stub.Predict, request)
    assert code == "INVALID_ARGUMENT"
    assert message in details


def test_a_tensor_that_does_not_fill_its_shape_is_refused(
    run: Run, stub: prediction_service_pb2_grpc.PredictionServiceStub
) -> None:
    request = request_of(tensors(run, "score_items"), "score_items")
    request.inputs["candidate_price"].tensor_content = b"\0" * 8
    assert refused(stub.Predict, request)[0] == "INVALID_ARGUMENT"


def one_value_each(inputs: dict[str, np.ndarray], signature: str, axis: str, size: int) -> predict_pb2.PredictRequest:
    """One session, one value a tensor; `axis` of the shapes says `size`."""
    request = request_of(
        {name: values[:1, :1] if values.ndim > 1 else values[:1] for name, values in inputs.items()}, signature
    )
    for name, tensor in request.inputs.items():
        if name.startswith({"T": "behavior_", "N": "candidate_"}[axis]) and len(tensor.tensor_shape.dim) == 2:
            tensor.tensor_shape.dim[1].size = size
    return request


def test_a_few_bytes_cannot_ask_for_gigabytes(
    run: Run, stub: prediction_service_pb2_grpc.PredictionServiceStub
) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    request = one_value_each(tensors(run, "session_gate"), "session_gate", "T", 30_000_000)
    assert request.ByteSize() < 1000
    code, details = refused(stub.Predict, request)
    assert code == "INVALID_ARGUMENT"
    assert "too large: 1 sessions x 1 candidates x (30,000,000 behaviours + 64)" in details
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000, "kilobytes taken by a refused request"

    raw: dict[str, np.ndarray] = random_raw_sessions(run.scenario, batch=1, behaviors=1100, candidates=2000, seed=7)
    raw["gate"] = np.zeros((1, 3), np.float32)
    code, details = refused(stub.Predict, request_of(raw, "score_items"))  # each tensor is small, their product is not
    assert code == "INVALID_ARGUMENT"
    assert "too large: 1 sessions x 2,000 candidates x (1,100 behaviours + 64)" in details


def test_scores_that_are_no_numbers_are_refused_where_they_count() -> None:
    scores = np.array([[0.1, np.nan, np.nan], [0.2, 0.3, 0.4]], np.float32)
    check_scores(scores, {"candidate_count": np.array([1, 3])})
    with pytest.raises(InvalidRequest, match="send what `session_gate` answered"):
        check_scores(scores, {"candidate_count": np.array([2, 3])})


def test_one_number_stands_for_all_but_strings_must_be_there(
    run: Run, stub: prediction_service_pb2_grpc.PredictionServiceStub
) -> None:
    inputs = tensors(run, "session_gate")
    inputs["behavior_price"][:] = 7
    request = request_of(inputs, "session_gate")
    expected = tf.make_ndarray(stub.Predict(request, timeout=60).outputs["gate"])
    request.inputs["behavior_price"].tensor_content = b""
    request.inputs["behavior_price"].float_val[:] = [7]
    np.testing.assert_array_equal(tf.make_ndarray(stub.Predict(request, timeout=60).outputs["gate"]), expected)

    request.inputs["behavior_price"].float_val[:] = [7, 7]
    code, details = refused(stub.Predict, request)
    assert (code, "input `behavior_price`: 2 values for 12 places" in details) == ("INVALID_ARGUMENT", True), details

    request = one_value_each(tensors(run, "session_gate"), "session_gate", "T", 5)
    code, details = refused(stub.Predict, request)
    assert (code, "input `behavior_item_id`: 1 values for 5 places" in details) == ("INVALID_ARGUMENT", True), details


def test_unknown_names_are_refused(run: Run, stub: prediction_service_pb2_grpc.PredictionServiceStub) -> None:
    def changed(**spec: Any) -> predict_pb2.PredictRequest:
        request = request_of(tensors(run, "session_gate"), "session_gate")
        version = spec.pop("version", None)
        for name, value in spec.items():
            setattr(request.model_spec, name, value)
        if version:
            request.model_spec.version.value = version
        return request

    assert refused(stub.Predict, changed(name="other")) == ("NOT_FOUND", "no model `other`; this server has `awmoe`")
    assert refused(stub.Predict, changed(version=9)) == ("NOT_FOUND", "no version 9 of `awmoe`; loaded: 1")
    assert refused(stub.Predict, changed(version_label="canary"))[0] == "NOT_FOUND"
    code, details = refused(stub.Predict, changed(signature_name="classify"))
    assert code == "INVALID_ARGUMENT"
    assert details == "signature `classify`: unknown; the model has session_gate and score_items"


def test_the_output_filter_is_honoured(run: Run, stub: prediction_service_pb2_grpc.PredictionServiceStub) -> None:
    request = request_of(tensors(run, "session_gate"), "session_gate")
    request.output_filter.append("gate")
    assert list(stub.Predict(request, timeout=60).outputs) == ["gate"]
    request.output_filter.append("logits")
    code, details = refused(stub.Predict, request)
    assert (code, "unknown output `logits`; the signature gives `gate`" in details) == ("INVALID_ARGUMENT", True)


def test_metadata_and_other_calls(run: Run, stub: prediction_service_pb2_grpc.PredictionServiceStub) -> None:
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "awmoe"
    answer = stub.GetModelMetadata(request, timeout=60)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert answer.metadata["signature_def"].Unpack(signatures)
    assert answer.model_spec.version.value == 1
    for name, inputs in signature_inputs(run.scenario.features).items():
        assert set(signatures.signature_def[name].inputs) == set(inputs)

    request.metadata_field[:] = ["signatures"]
    code, details = refused(stub.GetModelMetadata, request)
    assert (code, "must be exactly `signature_def`" in details) == ("INVALID_ARGUMENT", True)
    assert refused(stub.Classify, classification_pb2.ClassificationRequest())[0] == "UNIMPLEMENTED"


def test_a_directory_without_a_version_is_one_clear_line(model: Path, tmp_path: Path) -> None:
    (tmp_path / ".tmp-1-abc").mkdir()
    with pytest.raises(InputError, match=r"has no version, a directory named by a number; .*$"):
        ModelServer(tmp_path)
    with pytest.raises(InputError, match=r"absent: no such directory; .*$"):
        ModelServer(tmp_path / "absent")
    (tmp_path / "1").mkdir()
    with pytest.raises(InputError, match=r"1: is no version that `awmoe export` wrote"):
        ModelServer(tmp_path)


def test_a_taken_port_is_one_clear_line(server: ModelServer, model: Path) -> None:
    port = int(server.target.rpartition(":")[2])
    with pytest.raises(InputError, match=f"127.0.0.1:{port}: cannot listen there"):
        ModelServer(model, port=port)


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)


def test_a_roll_out_keeps_the_version_before(model: Path, run: Run, tmp_path: Path) -> None:
    directory = tmp_path / "awmoe"
    shutil.copytree(model / "1", directory / "1")
    with ModelServer(directory, poll_seconds=0.05) as server, grpc.insecure_channel(server.target) as channel:
        status_stub = model_service_pb2_grpc.ModelServiceStub(channel)
        predict_stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)

        def states() -> dict[int, int]:
            request = get_model_status_pb2.GetModelStatusRequest()
            request.model_spec.name = "awmoe"
            answer = status_stub.GetModelStatus(request, timeout=60)
            return {status.version: status.state for status in answer.model_version_status}

        def publish(version: int) -> None:
            shutil.copytree(model / "1", directory / f".tmp-{version}")
            (directory / f".tmp-{version}").rename(directory / str(version))

        def answering(version: int | None) -> int:
            request = request_of(tensors(run, "session_gate"), "session_gate")
            if version:
                request.model_spec.version.value = version
            return predict_stub.Predict(request, timeout=60).model_spec.version.value

        assert states() == {1: AVAILABLE}
        publish(2)
        wait_until(lambda: server.version == 2, "version 2 is served")
        assert (states(), answering(None), answering(1)) == ({1: AVAILABLE, 2: AVAILABLE}, 2, 1)

        (directory / "10").mkdir()  # empty: cannot be loaded, so 2 goes on
        wait_until(lambda: 10 in states(), "version 10 is reported")
        assert (states(), answering(None)) == ({1: AVAILABLE, 2: AVAILABLE, 10: END}, 2)

        (directory / "10").rmdir()
        publish(3)
        wait_until(lambda: server.version == 3, "version 3 is served")
        assert (states(), answering(2)) == ({2: AVAILABLE, 3: AVAILABLE}, 2)

        shutil.rmtree(directory / "3")  # rolled back
        wait_until(lambda: server.version == 2, "version 2 is served again")
        assert (answering(None), answering(3)) == (2, 3)


def test_a_version_that_is_still_being_copied_is_served_when_complete(
    model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = tmp_path / "awmoe"
    shutil.copytree(model / "1", directory / "1")
    versions = ModelVersions(directory)
    with caplog.at_level(logging.WARNING, logger="serving"):
        (directory / "2").mkdir()
        shutil.copy(model / "1" / "saved_model.pb", directory / "2")
        versions.refresh()
        assert (versions.current.version, versions.failed) == (1, {}), "changed since the last look: it waits"
        for _ in range(3):  # stands still, and lacks files
            versions.refresh()
        assert (versions.current.version, list(versions.failed)) == (1, [2])
        assert len(caplog.messages) == 1, "a failure is logged once"
        assert "version 2 is not served, version 1 is: " in caplog.text

        shutil.copytree(model / "1", directory / "2", dirs_exist_ok=True)
        versions.refresh()
        versions.refresh()
    assert (versions.current.version, versions.failed) == (2, {})
    assert len(caplog.messages) == 1


def test_a_broken_newest_version_at_start_up_leaves_the_one_below(
    model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = tmp_path / "awmoe"
    shutil.copytree(model / "1", directory / "1")
    (directory / "2").mkdir()
    versions = ModelVersions(directory)
    assert (versions.current.version, list(versions.failed)) == (1, [2])
    versions.refresh()
    assert len(caplog.messages) == 1
    assert "version 2 is not served, version 1 is: " in caplog.text

    shutil.copytree(model / "1", directory / "2", dirs_exist_ok=True)
    versions.refresh()
    versions.refresh()
    assert versions.current.version == 2


def test_the_model_has_the_name_of_the_directory_that_was_given(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(model)
    with ModelServer(Path()) as server:
        assert server.model_name == "awmoe"


def test_a_version_that_is_loaded_just_then_does_not_hold_up_the_end(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loading, loaded = threading.Event(), threading.Event()
    server = ModelServer(model, poll_seconds=0.01)

    def load() -> None:
        loading.set()
        loaded.wait(60)

    monkeypatch.setattr(server._versions, "refresh", load)
    assert loading.wait(60)
    started = time.monotonic()
    server.stop()
    assert time.monotonic() - started < 10
    loaded.set()


def test_the_command_line_serves_a_link_by_its_name_until_sigterm(model: Path, run: Run, tmp_path: Path) -> None:
    (tmp_path / "live").symlink_to(model)
    command = [sys.executable, str(ROOT / "awmoe.py"), "serve", str(tmp_path / "live"), "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            said, _, target = process.stdout.readline().strip().rpartition(" on ")
            assert said == "serving live version 1"
            with grpc.insecure_channel(target) as channel:
                request = request_of(tensors(run, "session_gate"), "session_gate")
                request.model_spec.name = "live"
                stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
                assert stub.Predict(request, timeout=10, wait_for_ready=True).model_spec.name == "live"
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=20)
            assert process.returncode == 0, errors
        finally:
            process.kill()


def test_a_version_whose_warm_up_fails_is_not_served(model: Path, tmp_path: Path) -> None:
    directory = tmp_path / model.name
    shutil.copytree(model / "1", directory / "1")
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.CopyFrom(next(read_warmup(model / "1")))
    del log.predict_log.request.inputs["behavior_count"]
    with tf.io.TFRecordWriter(str(directory / "1" / WARMUP_FILE)) as writer:
        writer.write(log.SerializeToString())
    with pytest.raises(InputError, match="a warm-up request fails: missing input `behavior_count`"):
        ModelVersions(directory)
    (directory / "1" / WARMUP_FILE).unlink()
    assert ModelVersions(directory).current.version == 1, "a version without such requests is served"


def test_a_version_that_is_gone_leaves_nothing_in_memory(model: Path, tmp_path: Path) -> None:
    directory = tmp_path / model.name
    shutil.copytree(model / "1", directory / "1")
    versions = ModelVersions(directory)
    graph = weakref.ref(versions.current._calls["session_gate"]._session.graph)  # type: ignore[attr-defined]
    gc.disable()  # what would come by itself, some time
    try:
        for version in ("2", "3"):
            assert graph() is not None, "the version before stays for its sessions"
            shutil.copytree(model / "1", directory / version)
            versions.refresh()
            versions.refresh()
        assert [loaded.version for loaded in versions.loaded] == [2, 3]
        assert graph() is None
    finally:
        gc.enable()
