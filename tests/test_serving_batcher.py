"""The queue and its batches: the same scores in any company, bounds, deadlines, and errors that stay with their own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from exported_tiny_model import exported_tiny_model
from hypothesis import given, settings
from hypothesis import strategies as st
from served_requests import request_arrays

from serving.batch_shape import BatchShape
from serving.batcher import Batcher
from serving.loaded_model import LoadedModel
from serving.protocol import SCORE_ITEMS, SESSION_GATE, SignatureInput
from serving.run_joined import run_joined
from serving.server_metrics import ServerMetrics
from serving.serving_error import ServingError
from serving.waiting_request import WaitingRequest

#: Sessions, T, N and seed of a request.
SIZES = st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 7), st.integers(0, 1000))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return LoadedModel.load(exported_tiny_model(tmp_path_factory.mktemp("exported")) / "1")


def waiting(model: Any, signature: str, inputs: dict[str, np.ndarray], seconds: float = 60) -> WaitingRequest:
    return WaitingRequest.of(model, signature, inputs, time.monotonic() + seconds)


@pytest.mark.parametrize(("signature", "output"), [(SESSION_GATE, "gate"), (SCORE_ITEMS, "scores")])
@settings(max_examples=15)
@given(sizes=st.lists(SIZES, min_size=2, max_size=5))
def test_a_request_gets_the_same_scores_in_any_company(
    signature: str, output: str, sizes: list[tuple[int, int, int, int]], model: LoadedModel
) -> None:
    requests = []
    for index, (batch, behaviors, candidates, seed) in enumerate(sizes):
        inputs = request_arrays(signature, batch, behaviors, candidates, seed)
        if index % 2:  # every second one begins with a user without behaviours
            inputs["behavior_count"][0] = 0
        requests.append(waiting(model, signature, inputs))
    for request, together in zip(requests, run_joined(requests), strict=True):
        (alone,) = run_joined([request])
        assert together[output].shape == alone[output].shape
        width = alone[output].shape[1]
        counts = request.inputs.get("candidate_count", np.full(request.sessions, width))
        real = np.arange(width) < counts[:, None]
        np.testing.assert_allclose(together[output][real], alone[output][real], atol=1e-5)


class FakeModel:
    """Answers twice the number of each candidate; waits until it may run. Thirteen and fourteen are errors."""

    def __init__(self) -> None:
        self.version = 1
        number, count = SignatureInput("float32", "N"), SignatureInput("int64", "")
        self.inputs = {"score_items": {"number": number, "behavior_count": count}}
        self.may_run = threading.Event()
        self.may_run.set()
        self.batches: list[int] = []

    def run(self, signature: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.batches.append(len(inputs["number"]))
        self.may_run.wait(30)
        if (inputs["number"] == 13).any():
            raise tf.errors.InvalidArgumentError(None, None, "thirteen")
        if (inputs["number"] == 14).any():
            raise KeyError("fourteen")
        return {"scores": inputs["number"] * 2}


def of_number(model: FakeModel, number: float, seconds: float = 60, width: int = 2, batch: int = 1) -> WaitingRequest:
    inputs: dict[str, np.ndarray] = {"number": np.full((batch, width), number, np.float32)}
    inputs["behavior_count"] = np.zeros(batch, np.int64)
    return waiting(model, "score_items", inputs, seconds)


@contextmanager
def batcher(workers: int = 1, max_batch: int = 8, max_waiting: int = 100) -> Iterator[Batcher]:
    queue = Batcher(workers, max_batch, max_waiting, ServerMetrics())
    try:
        yield queue
    finally:
        queue.close()


def submit_behind(model: FakeModel, queue: Batcher, requests: list[WaitingRequest]) -> None:
    """Lets requests pile up behind one that runs."""
    model.may_run.clear()
    queue.submit(of_number(model, 0))
    wait_until(lambda: len(model.batches) == 1)
    for request in requests:
        queue.submit(request)


def wait_until(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_what_waits_is_run_as_one_and_split_again() -> None:
    model = FakeModel()
    with batcher() as queue:
        requests = [of_number(model, number, width=1 + number % 2, batch=1 + number % 3) for number in range(1, 5)]
        submit_behind(model, queue, requests)
        model.may_run.set()
        for number, request in enumerate(requests, start=1):
            scores = request.answer.result(timeout=30)["scores"]
            np.testing.assert_array_equal(scores, np.full((1 + number % 3, 1 + number % 2), 2.0 * number))
    assert model.batches == [1, 2 + 3 + 1 + 2]


def test_an_idle_batcher_runs_a_request_in_the_thread_that_brings_it() -> None:
    model = FakeModel()
    with batcher() as queue:
        for number in (1, 13, 2):  # an error gives the worker's place back too
            request = of_number(model, number)
            assert queue.run_here(request)
            assert request.answer.done(), "it was run before run_here returned"
        over = of_number(model, 3, seconds=0)
        assert not queue.run_here(over), "what nobody waits for is not run"

        model.may_run.clear()
        running = threading.Thread(target=queue.run_here, args=[of_number(model, 4)])
        running.start()
        wait_until(lambda: len(model.batches) == 4)
        behind = [of_number(model, number) for number in (5, 6)]
        assert not queue.run_here(behind[0]), "all workers are taken"
        for request in behind:
            queue.submit(request)
        time.sleep(0.1)
        assert len(model.batches) == 4, "a worker must not run beside it"
        model.may_run.set()
        running.join(30)
        for number, request in zip((5, 6), behind, strict=True):
            np.testing.assert_array_equal(request.answer.result(timeout=30)["scores"], [[2.0 * number] * 2])
    assert model.batches == [1, 1, 1, 1, 2]


def test_closing_waits_for_what_runs_in_another_thread() -> None:
    model = FakeModel()
    with batcher() as queue:
        model.may_run.clear()
        request = of_number(model, 1)
        running = threading.Thread(target=queue.run_here, args=[request])
        running.start()
        wait_until(lambda: len(model.batches) == 1)
        threading.Timer(0.3, model.may_run.set).start()
        queue.close()
        assert request.answer.done()
        running.join(30)


def test_a_worker_leaves_the_others_their_share() -> None:
    model = FakeModel()
    with batcher(workers=2) as queue:
        model.may_run.clear()
        queue.submit(of_number(model, 0))
        queue.submit(of_number(model, 0))
        wait_until(lambda: len(model.batches) == 2)
        requests = [of_number(model, number) for number in range(1, 7)]
        for request in requests:
            queue.submit(request)
        model.may_run.set()
        for request in requests:
            request.answer.result(timeout=30)
    assert max(model.batches) <= 3, "six waited for two workers"


def test_a_batch_has_no_more_sessions_than_it_may() -> None:
    model = FakeModel()
    with batcher(max_batch=4) as queue:
        requests = [of_number(model, number, batch=batch) for number, batch in enumerate([3, 2, 1, 9, 2])]
        submit_behind(model, queue, requests)
        model.may_run.set()
        for request in requests:
            request.answer.result(timeout=30)
    assert model.batches == [1, 3 + 1, 2 + 2, 9], "one that is larger than a batch is run alone"


def test_a_batch_is_not_mostly_padding() -> None:
    wide, narrow = (of_number(FakeModel(), 1, width=width) for width in (1000, 2))
    shape = BatchShape().with_request(wide)
    assert shape.with_request(wide).is_allowed(8)
    assert shape.with_request(narrow).is_allowed(8), "2,000 places for 1,002"
    assert not shape.with_request(narrow).with_request(narrow).is_allowed(8), "3,000 places for 1,004"


def test_versions_are_never_mixed() -> None:
    first, second = FakeModel(), FakeModel()
    with batcher() as queue:
        requests = [of_number(model, 3) for model in (first, second, first, second)]
        submit_behind(first, queue, requests)
        first.may_run.set()
        for request in requests:
            request.answer.result(timeout=30)
    assert (first.batches, second.batches) == ([1, 2], [2])


def test_a_full_queue_refuses_at_once_and_forgets_those_that_nobody_waits_for() -> None:
    model = FakeModel()
    with batcher(max_waiting=2) as queue:
        requests = [of_number(model, 1), of_number(model, 2)]
        submit_behind(model, queue, requests)
        with pytest.raises(ServingError, match="RESOURCE_EXHAUSTED: the queue is full: 2 requests wait"):
            queue.submit(of_number(model, 3))
        requests[0].answer.cancel()
        queue.submit(of_number(model, 4))
        model.may_run.set()
        np.testing.assert_array_equal(requests[1].answer.result(timeout=30)["scores"], [[4, 4]])
    assert model.batches == [1, 2]


def test_what_waited_past_its_deadline_is_not_run() -> None:
    model = FakeModel()
    with batcher() as queue:
        late, cancelled, good = of_number(model, 1, seconds=0.05), of_number(model, 2), of_number(model, 3)
        submit_behind(model, queue, [late, cancelled, good])
        cancelled.answer.cancel()
        time.sleep(0.1)
        model.may_run.set()
        with pytest.raises(ServingError, match="DEADLINE_EXCEEDED"):
            late.answer.result(timeout=30)
        np.testing.assert_array_equal(good.answer.result(timeout=30)["scores"], [[6, 6]])
    assert model.batches == [1, 1]


def test_an_error_stays_with_the_request_that_made_it() -> None:
    model = FakeModel()
    with batcher() as queue:
        good, invalid, broken, also_good = (of_number(model, number) for number in (1, 13, 14, 2))
        submit_behind(model, queue, [good, invalid, broken, also_good])
        model.may_run.set()
        np.testing.assert_array_equal(good.answer.result(timeout=30)["scores"], [[2, 2]])
        with pytest.raises(ServingError, match="signature `score_items`: thirteen") as caught:
            invalid.answer.result(timeout=30)
        assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
        with pytest.raises(ServingError, match="the model failed on this request") as caught:
            broken.answer.result(timeout=30)
        assert caught.value.code is grpc.StatusCode.INTERNAL
        np.testing.assert_array_equal(also_good.answer.result(timeout=30)["scores"], [[4, 4]])


def test_what_waits_when_it_closes_is_answered() -> None:
    model = FakeModel()
    with batcher() as queue:
        request = of_number(model, 1)
        submit_behind(model, queue, [request])
        closing = threading.Thread(target=queue.close)
        closing.start()
        with pytest.raises(ServingError, match="UNAVAILABLE: the server is stopping"):
            request.answer.result(timeout=30)
        model.may_run.set()
        closing.join()
        with pytest.raises(ServingError, match="UNAVAILABLE"):
            queue.submit(of_number(model, 2))


def test_a_lone_request_does_not_wait_for_company() -> None:
    model = FakeModel()
    with batcher() as queue:
        waits = []
        for _ in range(20):
            started = time.perf_counter()
            request = of_number(model, 1)
            queue.submit(request)
            request.answer.result(timeout=30)
            waits.append(time.perf_counter() - started)
    assert model.batches == [1] * 20
    assert min(waits) < 0.1, "the best of 20, on a machine that may be busy"
