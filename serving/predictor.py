"""Answers `Predict`, for gRPC and REST alike."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Executor, Future
from dataclasses import dataclass
from typing import NoReturn

import grpc
import numpy as np

from serving.batcher import Batcher
from serving.model_versions import ModelVersions
from serving.predict_call import PredictCall
from serving.protocol import OUTPUTS, SCORES
from serving.server_metrics import ServerMetrics
from serving.serving_error import ServingError
from serving.validation import InvalidRequest, check_scores, check_values
from serving.waiting_request import WaitingRequest

#: Seconds; threads cannot wait for what a client may write as its deadline.
_LONGEST_WAIT = 86_400.0


@dataclass(frozen=True)
class Prediction:
    """Outputs by name, and the version that gave them."""

    version: int
    signature: str
    outputs: dict[str, np.ndarray]


class Predictor:
    """Checks requests, queues them and waits for their answers.

    Args:
        versions: of the model.
        workers: batches run at the same time; default: the processor's cores.
        max_batch: most sessions of a batch.
        max_waiting: requests in the queue; more are answered RESOURCE_EXHAUSTED.
        seconds: until a request without a deadline of its own is answered DEADLINE_EXCEEDED.
        metrics: default: its own.
    """

    def __init__(
        self,
        versions: ModelVersions,
        *,
        workers: int | None = None,
        max_batch: int = 32,
        max_waiting: int = 128,
        seconds: float = 30.0,
        metrics: ServerMetrics | None = None,
    ) -> None:
        self.versions = versions
        self.metrics = metrics or ServerMetrics()
        self._seconds = seconds
        workers = workers or len(os.sched_getaffinity(0))
        #: Requests that may be in here at the same time, waiting or running.
        self.capacity = max_waiting + workers * max_batch
        self._batcher = Batcher(workers, max_batch, max_waiting, self.metrics)
        self.metrics.watch(
            lambda: len(self._batcher),
            lambda: {model.version: model is versions.current for model in versions.loaded},
        )

    def predict(self, call: PredictCall, on_leave: Callable[[Callable[[], None]], bool] | None = None) -> Prediction:
        """Waits for the answer.

        Args:
            call: what is asked.
            on_leave: registers what is to be done when the caller goes away; False if it is gone already.

        Raises:
            ServingError: no answer.
        """
        with self.metrics.observed(call.signature):
            request = self._accept(call, time.monotonic())
            if self._batcher.run_here(request):
                if request.seconds_left == 0:
                    _give_up(request)
            else:
                self._batcher.submit(request)
                if on_leave is not None and not on_leave(lambda: _leave(request)):
                    _leave(request)
            try:
                outputs = request.answer.result(timeout=request.seconds_left)
            except TimeoutError:
                _give_up(request)
            except CancelledError:
                if request.seconds_left == 0:
                    _give_up(request)
                raise ServingError(grpc.StatusCode.CANCELLED, "the caller went away") from None
            return _prediction(request, outputs)

    async def predict_async(self, call: PredictCall, threads: Executor) -> Prediction:
        """As `predict`, on an event loop; what is cancelled is not run.

        Args:
            call: what is asked.
            threads: check the request.

        Raises:
            ServingError: no answer.
        """
        with self.metrics.observed(call.signature):
            arrived = time.monotonic()
            accepted = threads.submit(self._accept_and_queue, call, arrived)
            try:
                request = await asyncio.wrap_future(accepted)
            except asyncio.CancelledError:
                accepted.add_done_callback(_leave_accepted)
                raise
            try:
                outputs = await asyncio.wait_for(asyncio.wrap_future(request.answer), request.seconds_left)
            except TimeoutError:
                _give_up(request)
            return _prediction(request, outputs)

    def close(self) -> None:
        """Answers what still waits UNAVAILABLE, and waits for what runs."""
        self._batcher.close()

    def _accept(self, call: PredictCall, arrived: float) -> WaitingRequest:
        model = self.versions.find(call.choice)
        self._batcher.check_room()  # before the work of decoding
        try:
            if call.signature not in model.inputs:
                raise InvalidRequest(f"unknown; the model has {' and '.join(model.inputs)}")
            output = OUTPUTS[call.signature]
            if unknown := sorted(set(call.outputs) - {output}):
                raise InvalidRequest(f"output_filter: unknown output `{unknown[0]}`; the signature gives `{output}`")
            declared, scenario = model.inputs[call.signature], model.scenario
            inputs = call.decode(declared, scenario.model.expert_count)
            check_values(inputs, declared, scenario.features)
        except InvalidRequest as error:
            raise _invalid(call.signature, error) from error
        seconds = self._seconds if call.seconds is None else min(call.seconds, _LONGEST_WAIT)
        return WaitingRequest.of(model, call.signature, inputs, arrived + seconds)

    def _accept_and_queue(self, call: PredictCall, arrived: float) -> WaitingRequest:
        request = self._accept(call, arrived)
        self._batcher.submit(request)
        return request


def _prediction(request: WaitingRequest, outputs: dict[str, np.ndarray]) -> Prediction:
    if SCORES in outputs:
        try:
            check_scores(outputs[SCORES], request.inputs)
        except InvalidRequest as error:
            raise _invalid(request.signature, error) from error
    return Prediction(request.model.version, request.signature, outputs)


def _invalid(signature: str, error: InvalidRequest) -> ServingError:
    return ServingError(grpc.StatusCode.INVALID_ARGUMENT, f"signature `{signature}`: {error}")


def _leave(request: WaitingRequest) -> None:
    request.answer.cancel()


def _leave_accepted(accepted: Future[WaitingRequest]) -> None:
    if not accepted.cancelled() and accepted.exception() is None:
        _leave(accepted.result())


def _give_up(request: WaitingRequest) -> NoReturn:
    request.answer.cancel()
    raise request.too_late() from None
