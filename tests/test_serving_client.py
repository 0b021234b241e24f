"""The client against a real server: the model's scores, one version a session, and clear failures."""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from random_run import random_run
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from export.publish import export
from model.run_directory import Run
from pipeline.features import Features
from serving.call import CallRecord
from serving.client import OpenSession, SessionRanker
from serving.connection import Tls
from serving.errors import RankingError, RequestError
from serving.gate_cache import Gate, GateCache
from serving.model_versions import ModelVersions
from serving.predict_service import PredictService
from serving.predictor import Predictor
from serving.request import Session
from serving.server import ModelServer
from tiny_data import tiny_scenario

SESSION = Session(
    behaviors=[
        {"item_id": f"item_{i}", "brand": f"brand_{i}", "price": 3.0 + i, "action": "action_1", "age_days": 0.5 * i}
        for i in range(3)
    ],
    query={"terms": "term_1 term_2"},
    user={"age_group": "age_group_1", "activity": 12},
)
NEW_USER = Session(query={"terms": "term_1"}, user={"activity": 0})
PAGE = [
    {"item_id": f"item_{i}", "brand": f"brand_{i}", "tags": "tag_1|tag_2", "price": 2.0 * i, "item_purchases": i}
    for i in range(9)
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run]:
    """The runs behind versions 1 and 2."""
    scenario, data = tiny_scenario(), tmp_path_factory.mktemp("data")
    return random_run(scenario, data, seed=5), random_run(scenario, data, seed=6)


@pytest.fixture(scope="module")
def versions(runs: tuple[Run, Run], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory with versions 1 and 2, to copy from."""
    output = tmp_path_factory.mktemp("models")
    for run in runs:
        version = export(run, output)
    return version.parent


@pytest.fixture
def directory(versions: Path, tmp_path: Path) -> Path:
    """A model directory with version 1."""
    shutil.copytree(versions / "1", tmp_path / "awmoe" / "1")
    return tmp_path / "awmoe"


@pytest.fixture(scope="module")
def server(versions: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServer]:
    """Serves version 1."""
    directory = tmp_path_factory.mktemp("served") / "awmoe"
    shutil.copytree(versions / "1", directory / "1")
    with ModelServer(directory) as server:
        yield server


def ranker(server: ModelServer, features: Features | None = None, **options: Any) -> SessionRanker:
    return SessionRanker(server.target, features or tiny_scenario().features, **{"timeout": 60.0, **options})


def trained_scores(run: Run, session: Session, candidates: list[dict[str, Any]]) -> np.ndarray:
    """The model's own scores, with tensors made apart from the request builder, [N]."""
    raw = {}
    for feature in run.scenario.features.encoded:
        numeric = feature.spec.dtype == "float32"
        if feature.spec.axis:
            rows = session.behaviors if feature.spec.axis == "T" else candidates
            values: Any = [[row.get(feature.field) for row in rows] or [0.0 if numeric else None]]
        else:
            values = [(session.query if feature.group == "query" else session.user).get(feature.field)]
        array = np.array(values, np.float32) if numeric else np.where(np.array(values) == None, "", values)  # noqa: E711
        raw[feature.name] = tf.constant(array)
    raw["behavior_count"] = tf.constant([len(session.behaviors)], tf.int64)
    raw["candidate_count"] = tf.constant([len(candidates)], tf.int64)
    return run.model.scores(run.model(run.preprocessing(raw)))[0].numpy()


@pytest.mark.parametrize("session", [SESSION, NEW_USER], ids=["behaviours", "new user"])
def test_pages_get_the_models_scores_with_one_gate(
    session: Session, runs: tuple[Run, Run], server: ModelServer
) -> None:
    with ranker(server) as client:
        opened = client.open_session(session)
        assert (opened.gate.shape, opened.version) == ((3,), 1)
        pages = [opened.score(PAGE[:4]), opened.score(PAGE[4:5]), opened.score(PAGE[5:])]

    scores = np.concatenate(pages)
    np.testing.assert_allclose(scores, trained_scores(runs[0], session, PAGE), atol=1e-5)
    assert np.ptp(scores) > 0.02, "the candidates hardly differ, so equality would show little"


def test_rank_is_best_first(server: ModelServer) -> None:
    with ranker(server) as client:
        opened = client.open_session(SESSION)
        ranked, scores = opened.rank(PAGE), opened.score(PAGE).tolist()
    assert [position for position, _ in ranked] == sorted(range(len(PAGE)), key=lambda position: -scores[position])
    assert [score for _, score in ranked] == sorted(scores, reverse=True)


def test_threads_share_a_client(server: ModelServer) -> None:
    with ranker(server) as client, ThreadPoolExecutor(4) as threads:
        opened = client.open_session(SESSION)
        expected = opened.score(PAGE)
        for scores in threads.map(lambda _: opened.score(PAGE), range(12)):
            np.testing.assert_allclose(scores, expected, atol=1e-6)


def publish(versions: Path, directory: Path, version: int) -> None:
    """Puts a copy of version 2 there as `version`."""
    shutil.copytree(versions / "2", directory / ".tmp")
    (directory / ".tmp").rename(directory / str(version))


def wait_for(server: ModelServer, version: int) -> None:
    deadline = time.monotonic() + 120
    while server.version != version:
        assert time.monotonic() < deadline, f"version {version} is not served within 120 s"
        time.sleep(0.02)


def test_a_session_stays_on_its_version_and_moves_when_that_is_gone(
    runs: tuple[Run, Run], versions: Path, directory: Path
) -> None:
    first, second = (trained_scores(run, SESSION, PAGE) for run in runs)
    assert np.abs(first - second).max() > 0.01, "the versions must differ"
    with ModelServer(directory, poll_seconds=0.05) as server, ranker(server) as client:
        opened = client.open_session(SESSION)
        gate = opened.gate

        publish(versions, directory, 2)
        wait_for(server, 2)
        np.testing.assert_allclose(opened.score(PAGE), first, atol=1e-5)
        assert (opened.version, client.open_session(SESSION).version) == (1, 2)

        publish(versions, directory, 3)  # the third drops the first: NOT_FOUND, hence a new gate
        wait_for(server, 3)
        np.testing.assert_allclose(opened.score(PAGE), second, atol=1e-5)
        assert opened.version == 3
        assert np.abs(opened.gate - gate).max() > 1e-3


def test_features_that_differ_are_found_before_ranking(server: ModelServer) -> None:
    features = tiny_scenario().features
    fewer = features.model_copy(update={"query": {**features.query, "shop": features.user["age_group"]}})
    with (
        ranker(server, Features.model_validate(fewer.model_dump(exclude_unset=True))) as client,
        pytest.raises(RankingError, match=r"does not take this client's features.*no input `query_shop`") as caught,
    ):
        client.open_session(SESSION)
    assert caught.value.code == "FAILED_PRECONDITION"

    retyped = features.model_dump(exclude_unset=True)
    retyped["user"] = {"age_group": {"kind": "numeric"}}
    del retyped["tables"]["age_group"]
    with (
        ranker(server, Features.model_validate(retyped)) as client,
        pytest.raises(RankingError, match="`user_age_group` is string in the model, float32 here"),
    ):
        client.open_session(SESSION)


def test_a_wrong_value_is_refused_before_anything_is_sent(server: ModelServer) -> None:
    with ranker(server) as client:
        opened = client.open_session(SESSION)
    # closed: a call would fail with another error
    with pytest.raises(RequestError, match="candidate 0: field `price` is missing"):
        opened.score([{**PAGE[0], "price": None}])
    with pytest.raises(RequestError, match="no candidates"):
        opened.score([])


def test_a_closed_client_says_so(server: ModelServer) -> None:
    with ranker(server) as client:
        opened = client.open_session(SESSION)
    for call in (lambda: opened.score(PAGE), lambda: client.open_session(SESSION)):
        with pytest.raises(RankingError, match="this SessionRanker is closed; open another"):
            call()


def test_a_model_that_is_not_there_is_named(server: ModelServer) -> None:
    with (
        ranker(server, model="other") as client,
        pytest.raises(RankingError, match=r"NOT_FOUND: model `other` at 127.*this server has `awmoe`") as caught,
    ):
        client.open_session(SESSION)
    assert caught.value.code == "NOT_FOUND"


def test_a_silent_server_costs_no_more_than_the_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts connections and never speaks
        started = time.monotonic()
        with (
            SessionRanker(f"127.0.0.1:{silent.getsockname()[1]}", tiny_scenario().features, timeout=0.3) as client,
            pytest.raises(RankingError) as caught,
        ):
            client.open_session(SESSION)
    assert caught.value.code == "DEADLINE_EXCEEDED"
    assert time.monotonic() - started < 2


def test_no_server_is_unavailable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with (
        SessionRanker(f"127.0.0.1:{port}", tiny_scenario().features, timeout=5) as client,
        pytest.raises(RankingError, match="is the server running") as caught,
    ):
        client.open_session(SESSION)
    assert caught.value.code == "UNAVAILABLE"


class _Restarting(PredictService):
    """The real service, but its first `failures` calls of Predict answer as a server that cannot yet."""

    failures = 2
    calls = 0
    code = grpc.StatusCode.UNAVAILABLE

    def Predict(  # noqa: N802
        self, request: predict_pb2.PredictRequest, context: grpc.ServicerContext
    ) -> predict_pb2.PredictResponse:
        self.calls += 1
        if self.calls <= self.failures:
            context.abort(self.code, "restarting")
        return super().Predict(request, context)


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED])
@pytest.mark.parametrize(("failures", "calls"), [(2, 3), (100, 4)], ids=["comes back", "stays away"])
def test_a_server_that_cannot_yet_is_asked_a_few_times(
    failures: int, calls: int, code: grpc.StatusCode, directory: Path
) -> None:
    service, answer = restarted(directory, failures, code)
    if failures < calls:
        assert not isinstance(answer, RankingError)
        assert answer.version == 1
    else:
        assert isinstance(answer, RankingError)
        assert str(answer).startswith(f"{code.name}: ")
        assert "restarting" in str(answer)
    assert service.calls == calls


@pytest.mark.parametrize("code", [grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.INTERNAL])
def test_what_will_not_get_better_is_asked_once(code: grpc.StatusCode, directory: Path) -> None:
    service, answer = restarted(directory, 1, code)
    assert isinstance(answer, RankingError)
    assert answer.code == code.name
    assert service.calls == 1


def test_retries_end_at_the_deadline(directory: Path) -> None:
    service, answer = restarted(directory, 100, grpc.StatusCode.UNAVAILABLE, timeout=0.06)
    assert isinstance(answer, RankingError)
    assert answer.code in ("UNAVAILABLE", "DEADLINE_EXCEEDED")
    assert service.calls < 4, "the fourth would start 0.2 s after the first, at the least"


def restarted(
    directory: Path, failures: int, code: grpc.StatusCode, timeout: float = 60
) -> tuple[_Restarting, OpenSession | RankingError]:
    """A session opened on a server whose first calls fail, or the error."""
    service = _Restarting(Predictor(ModelVersions(directory)))
    service.failures, service.code = failures, code
    server = grpc.server(ThreadPoolExecutor(2))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(service, server)
    target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        with SessionRanker(target, tiny_scenario().features, timeout=timeout) as client:
            return service, client.open_session(SESSION)
    except RankingError as error:
        return service, error
    finally:
        server.stop(0).wait()


@pytest.mark.parametrize("page_size", [1, 2, 4, 8])
def test_a_long_list_in_calls_at_once_has_the_scores_of_one_call(page_size: int, server: ModelServer) -> None:
    records: list[CallRecord] = []
    with ranker(server) as whole, ranker(server, page_size=page_size, on_call=records.append) as split:
        expected = whole.open_session(SESSION).score(PAGE)
        np.testing.assert_allclose(split.open_session(SESSION).score(PAGE), expected, atol=1e-6)
        with pytest.raises(RequestError, match="candidate 8: field `price` is missing"):
            split.open_session(SESSION).score([*PAGE[:8], {**PAGE[8], "price": None}])
    sizes = [record.candidates for record in records if record.signature == "score_items"]
    assert sum(sizes) == len(PAGE)
    assert max(sizes) <= page_size
    assert max(sizes) - min(sizes) <= 1
    assert len(sizes) == -(-len(PAGE) // page_size)


def test_every_call_is_told_of(server: ModelServer) -> None:
    records: list[CallRecord] = []

    def watch(record: CallRecord) -> None:
        records.append(record)
        raise RuntimeError("a broken exporter of metrics")

    with ranker(server, on_call=watch) as client:
        client.open_session(SESSION).score(PAGE)
        with pytest.raises(RankingError, match="NOT_FOUND"):
            SessionRanker(server.target, client_features(), model="other", on_call=watch).open_session(SESSION)
    assert [(r.signature, r.candidates, r.code, r.version) for r in records] == [
        ("", 0, "OK", 1),
        ("session_gate", 0, "OK", 1),
        ("score_items", len(PAGE), "OK", 1),
        ("", 0, "NOT_FOUND", None),
    ]
    assert all(0 < record.seconds < 10 for record in records)


def test_a_session_with_a_key_has_its_gate_from_the_cache(server: ModelServer) -> None:
    records: list[CallRecord] = []
    cache = GateCache(size=2)
    with ranker(server, cache=cache, on_call=records.append) as client:
        first = client.open_session(SESSION, key="a")
        later = replace(SESSION, behaviors=[{**behavior, "age_days": 9.0} for behavior in SESSION.behaviors])
        again = client.open_session(later, key="a")
        np.testing.assert_array_equal(again.gate, first.gate)
        assert gates(records) == 1
        client.open_session(replace(SESSION, query={"terms": "term_3"}), key="a")
        assert gates(records) == 2, "another query is another gate"
        client.open_session(SESSION)
        assert gates(records) == 3, "without a key nothing is kept"
        for key in ("b", "c"):
            client.open_session(SESSION, key=key)
        assert len(cache) == 2
        client.open_session(SESSION, key="a")
        assert gates(records) == 6, "the oldest went"


def test_gates_leave_the_cache_in_time() -> None:
    cache, gate = GateCache(seconds=0.05), Gate(np.ones(3), 7)
    cache.put("a", b"q", gate)
    assert cache.get("a", b"q") is gate
    time.sleep(0.1)
    assert cache.get("a", b"q") is None


def gates(records: list[CallRecord]) -> int:
    return sum(record.signature == "session_gate" for record in records)


def test_a_gate_of_a_version_that_is_gone_is_renewed_in_the_cache(versions: Path, directory: Path) -> None:
    records: list[CallRecord] = []
    with (
        ModelServer(directory, poll_seconds=0.05) as server,
        ranker(server, cache=GateCache(), page_size=4, on_call=records.append) as client,
    ):
        client.open_session(SESSION, key="a")
        for version in (2, 3):
            publish(versions, directory, version)
            wait_for(server, version)
        scores = client.open_session(SESSION, key="a").score(PAGE)
        np.testing.assert_allclose(scores, client.open_session(SESSION).score(PAGE), atol=1e-6)
        assert client.open_session(SESSION, key="a").version == 3
    codes = [record.code for record in records if record.signature == "score_items"]
    assert codes == ["NOT_FOUND"] * 3 + ["OK"] * 6, "all pages again, of one version"
    assert gates(records) == 3, "opened, renewed, and once without a key"


def test_servers_are_taken_in_turn_and_one_that_dies_is_left_out(directory: Path, server: ModelServer) -> None:
    with (
        ModelServer(directory) as other,
        SessionRanker([server.target, other.target], client_features(), timeout=60, page_size=1) as client,
    ):
        opened = client.open_session(SESSION)
        expected = opened.score(PAGE)
        other.stop(grace=0)
        for _ in range(3):  # in the middle of a session
            np.testing.assert_allclose(opened.score(PAGE), expected, atol=1e-6)


def test_servers_are_given_with_their_ports() -> None:
    for servers in (["127.0.0.1:1", "no such host:1"], ["127.0.0.1:1", "127.0.0.1"]):
        with pytest.raises(RequestError, match="cannot be looked up"):
            SessionRanker(servers, client_features())
    assert SessionRanker(["localhost:1", "127.0.0.1:2"], client_features()).target == "ipv4:127.0.0.1:1,127.0.0.1:2"


def client_features() -> Features:
    return tiny_scenario().features


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"private_key": b"key"}, "private_key and certificate_chain together"),
        ({"certificate_chain": b"chain"}, "private_key and certificate_chain together"),
        ({"root_certificates": "ca.pem"}, r"root_certificates must be the file's bytes: Path\(\.\.\.\)\.read_bytes"),
    ],
)
def test_tls_that_would_end_the_process_is_refused(given: dict[str, Any], reason: str) -> None:
    with pytest.raises(RequestError, match=reason):
        Tls(**given)
