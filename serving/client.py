"""The client: ranks a session's candidates on any server of TensorFlow Serving's protocol."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, TypeVar

import grpc
import numpy as np

from pipeline.features import Features
from serving.call import Call, CallRecord
from serving.connection import Connection, Tls
from serving.errors import RankingError
from serving.gate_cache import GateCache
from serving.methods import call_record, callables, tell
from serving.ranked import Ranked, ranked
from serving.request import Session, Values
from serving.session_steps import ServedModel, SessionState, Steps, open_session, score

T = TypeVar("T")


class SessionRanker:
    """Opens sessions on one model of one or several servers; a context manager, safe to share between threads.

    The first session checks that the served model takes exactly the inputs of `features`.

    Args:
        servers: as of `Connection`: `host:port`, a gRPC name, or several `host:port` taken in turn.
        features: the scenario's feature declaration, the one the model was trained with.
        model: the served model's name.
        version_label: sessions are opened on the version with this label, such as `canary`; default: the newest.
        timeout: seconds for opening a session or scoring a list, whatever is retried or computed again within.
        page_size: candidates of one call; a longer list is split over calls at once.
        cache: of gates, for sessions that are opened with a key.
        tls: default: in the clear.
        on_call: told of every call when it ended, from the thread that waited for it: metrics, traces.

    Example:
        with SessionRanker("127.0.0.1:8500", scenario.features) as ranker:
            session = ranker.open_session(Session(behaviors, query, user))
            first = session.rank(candidates[:100])
    """

    def __init__(
        self,
        servers: str | Sequence[str],
        features: Features,
        *,
        model: str = "awmoe",
        version_label: str | None = None,
        timeout: float = 1.0,
        page_size: int = 500,
        cache: GateCache | None = None,
        tls: Tls | None = None,
        on_call: Callable[[CallRecord], None] | None = None,
    ) -> None:
        connection = Connection(servers, tls)
        #: As gRPC writes the servers' addresses.
        self.target = connection.target
        self.timeout = timeout
        self._model = ServedModel(features, model, version_label, page_size, cache)
        self._on_call = on_call
        if tls:
            self._channel = grpc.secure_channel(self.target, tls.credentials, options=connection.options)
        else:
            self._channel = grpc.insecure_channel(self.target, options=connection.options)
        self._methods = callables(self._channel)

    def wait_until_ready(self, seconds: float) -> None:
        """Waits until a server can be reached, for instance while it loads its model.

        Raises:
            RankingError: none can within `seconds`.
        """
        try:
            grpc.channel_ready_future(self._channel).result(timeout=seconds)
        except grpc.FutureTimeoutError:
            raise RankingError.of_status(
                "UNAVAILABLE", self._model.name, self.target, f"not reached within {seconds:g} s"
            ) from None

    def open_session(self, session: Session, key: str | None = None) -> OpenSession:
        """Computes the session's gate, once for all its pages.

        Args:
            session: behaviours, query and profile.
            key: names the session in the cache: opened again with it, for the next page, it has its gate already.

        Raises:
            RequestError: a value of the session is wrong; nothing was sent.
            RankingError: the servers gave no usable answer.
        """
        state = SessionState(session, key)
        self.run(open_session(self._model, state))
        return OpenSession(self, state)

    def run(self, steps: Steps[T]) -> T:
        """Sends what the steps ask for, within the timeout."""
        deadline = time.monotonic() + self.timeout
        answers: list[Any] = []
        try:
            calls = next(steps)
            while True:
                answers = self._send(calls, deadline)
                calls = steps.send(answers)
        except StopIteration as done:
            result: T = done.value
            return result

    def score(self, state: SessionState, candidates: Sequence[Values]) -> np.ndarray:
        """As of `OpenSession.score`."""
        return self.run(score(self._model, state, candidates))

    def close(self) -> None:
        """Closes the connection; open sessions end with it."""
        self._channel.close()

    def __enter__(self) -> SessionRanker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _send(self, calls: Sequence[Call], deadline: float) -> list[Any]:
        started = time.monotonic()
        left = max(deadline - started, 0.0)
        ended: dict[int, float] = {}
        try:
            futures = [self._methods[call.method].future(call.request, timeout=left) for call in calls]
        except ValueError as error:  # how gRPC refuses a call on a closed channel
            raise RankingError("CANCELLED", "this SessionRanker is closed; open another") from error
        for index, future in enumerate(futures):
            future.add_done_callback(lambda _, index=index: ended.setdefault(index, time.monotonic()))
        answers = [self._answer(future) for future in futures]
        for index, (call, answer) in enumerate(zip(calls, answers, strict=True)):
            tell(self._on_call, call_record(call, answer, ended.get(index, time.monotonic()) - started))
        return answers

    def _answer(self, future: Any) -> Any:
        try:
            return future.result()
        except grpc.RpcError as error:
            return RankingError.of_status(error.code().name, self._model.name, self.target, error.details())
        except grpc.FutureCancelledError:
            return RankingError("CANCELLED", "this SessionRanker was closed; open another")


class OpenSession:
    """A session whose gate is computed; scores any number of pages with that gate and its version."""

    def __init__(self, ranker: SessionRanker, state: SessionState) -> None:
        self._ranker = ranker
        self._state = state

    @property
    def gate(self) -> np.ndarray:
        """The experts' weights for this session, [K]."""
        return self._state.gate.values

    @property
    def version(self) -> int:
        """The model version that computed the gate and scores the pages."""
        return self._state.gate.version

    def score(self, candidates: Sequence[Values]) -> np.ndarray:
        """The candidates' scores, [N], in the order given; a higher one ranks first.

        With the pointwise loss they are in (0, 1), and no purchase probabilities: they are calibrated to the
        training sample, which keeps few negatives (`pipeline.negatives_per_positive`, by default one a
        purchase), not to the traffic. With the listwise or pairwise loss they are logits, any numbers, which
        compare within one session only.

        When the version that computed the gate is gone (a roll-out passed it), the gate
        is computed again, once, with the version that serves now: experts of two
        versions do not match.

        Raises:
            RequestError: no candidates, or a value is wrong; nothing was sent.
            RankingError: the servers gave no usable answer.
        """
        return self._ranker.score(self._state, candidates)

    def rank(self, candidates: Sequence[Values]) -> list[Ranked]:
        """The candidates' positions and scores, best first; equal scores keep the order given."""
        return ranked(self.score(candidates))
