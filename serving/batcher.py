"""The queue of requests and the threads that run them, several as one where several wait."""

from __future__ import annotations

import logging
import threading
from collections import deque
from math import ceil

import grpc
import tensorflow as tf

from serving.batch_shape import BatchShape
from serving.run_joined import run_joined
from serving.server_metrics import ServerMetrics
from serving.serving_error import ServingError
from serving.waiting_request import WaitingRequest

_log = logging.getLogger(__name__)


class Batcher:
    """Runs requests, the oldest first.

    A free worker takes the oldest request and what else waits for the same version and
    signature, at most its share of what waits. It never waits for more to come, so a request
    on an idle server is run at once: by `run_here` in the thread that brings it, which saves
    waking another one and being woken.

    Args:
        workers: batches run at the same time, in whichever threads.
        max_batch: most sessions of a batch; a request with more is run alone.
        max_waiting: requests in the queue; more are refused.
        metrics: told of every batch.
    """

    def __init__(self, workers: int, max_batch: int, max_waiting: int, metrics: ServerMetrics) -> None:
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._metrics = metrics
        self._waiting: deque[WaitingRequest] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._most_running = workers
        self._running = 0
        self._workers = [
            threading.Thread(target=self._work, name=f"batch {number}", daemon=True) for number in range(workers)
        ]
        for worker in self._workers:
            worker.start()

    def __len__(self) -> int:
        """Requests that wait."""
        return len(self._waiting)

    def check_room(self) -> None:
        """Raises RESOURCE_EXHAUSTED where one more request would not fit, UNAVAILABLE where all is closed."""
        with self._changed:
            if self._closed:
                raise _stopping()
            if len(self._waiting) >= self._max_waiting:
                self._forget_those_over()
            if len(self._waiting) >= self._max_waiting:
                raise ServingError(
                    grpc.StatusCode.RESOURCE_EXHAUSTED,
                    f"the queue is full: {self._max_waiting} requests wait; try again later, or add a server",
                )

    def run_here(self, request: WaitingRequest) -> bool:
        """Runs a request in the calling thread if nothing waits or keeps all workers; else False, and `submit` it.

        Raises:
            ServingError: as of `check_room`.
        """
        with self._changed:
            self.check_room()
            if self._waiting or self._running == self._most_running or request.is_over:
                return False
            self._running += 1
        self._run_counted([request] if request.answer.set_running_or_notify_cancel() else [])
        return True

    def submit(self, request: WaitingRequest) -> None:
        """Queues a request; its `answer` ends in outputs or a ServingError.

        Raises:
            ServingError: as of `check_room`.
        """
        with self._changed:
            self.check_room()
            self._waiting.append(request)
            self._changed.notify()

    def close(self) -> None:
        """Answers what still waits UNAVAILABLE; returns when nothing runs any more."""
        with self._changed:
            self._closed = True
            left = list(self._waiting)
            self._waiting.clear()
            self._changed.notify_all()
        for request in left:
            _fail(request, _stopping())
        for worker in self._workers:
            worker.join()
        with self._changed:
            self._changed.wait_for(lambda: self._running == 0)

    def _work(self) -> None:
        while (batch := self._take()) is not None:
            self._run_counted(batch)

    def _run_counted(self, batch: list[WaitingRequest]) -> None:
        """Runs a batch that was counted as running before."""
        try:
            self._run(batch)
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def _take(self) -> list[WaitingRequest] | None:
        """The next batch, of requests that somebody still waits for; None when closed."""
        with self._changed:
            while True:
                self._forget_those_over()
                if self._waiting and self._running < self._most_running:
                    self._running += 1
                    return [request for request in self._next() if request.answer.set_running_or_notify_cancel()]
                if self._closed:
                    return None
                self._changed.wait()

    def _next(self) -> list[WaitingRequest]:
        # the others get their share, or one worker would have all the work and everybody would wait for it
        most = ceil(len(self._waiting) / self._most_running)
        first = self._waiting.popleft()
        batch, left = [first], []
        shape = BatchShape().with_request(first)
        for request in self._waiting:
            same = len(batch) < most and request.model is first.model and request.signature == first.signature
            larger = shape.with_request(request) if same else shape
            if same and larger.is_allowed(self._max_batch):
                batch.append(request)
                shape = larger
            else:
                left.append(request)
        self._waiting = deque(left)
        return batch

    def _forget_those_over(self) -> None:
        over = [request for request in self._waiting if request.is_over]
        if over:
            self._waiting = deque(request for request in self._waiting if request not in over)
        for request in over:
            _fail(request, request.too_late())

    def _run(self, batch: list[WaitingRequest]) -> None:
        if not batch:
            return
        self._metrics.batch(batch[0].signature, len(batch), sum(request.sessions for request in batch))
        try:
            outputs = run_joined(batch)
        except Exception as error:  # whatever the model does, the worker goes on
            if len(batch) > 1:  # one of them may have spoilt it for all
                for request in batch:
                    self._run([request])
            else:
                batch[0].answer.set_exception(_serving_error(batch[0], error))
            return
        for request, answer in zip(batch, outputs, strict=True):
            request.answer.set_result(answer)


def _fail(request: WaitingRequest, error: ServingError) -> None:
    """Answers a request that was taken from the queue and not run."""
    if request.answer.set_running_or_notify_cancel():
        request.answer.set_exception(error)


def _stopping() -> ServingError:
    return ServingError(grpc.StatusCode.UNAVAILABLE, "the server is stopping")


def _serving_error(request: WaitingRequest, error: Exception) -> ServingError:
    if isinstance(error, tf.errors.InvalidArgumentError):
        reason = " ".join(str(error.message).split()).partition(" [[{{")[0]
        return ServingError(grpc.StatusCode.INVALID_ARGUMENT, f"signature `{request.signature}`: {reason}")
    if isinstance(error, tf.errors.ResourceExhaustedError | MemoryError):
        return ServingError(grpc.StatusCode.RESOURCE_EXHAUSTED, "out of memory; send smaller pages")
    _log.error("version %d failed on a request", request.model.version, exc_info=error)
    return ServingError(grpc.StatusCode.INTERNAL, "the model failed on this request; the server's log has the reason")
