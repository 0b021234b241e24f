"""The client for asyncio: `SessionRanker`'s twin."""

from __future__ import annotations

import asyncio
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


class AsyncSessionRanker:
    """As `SessionRanker`, on an event loop; an asynchronous context manager, made where the loop runs.

    Args:
        servers: as of `SessionRanker`, like all that follow.
        features: the scenario's feature declaration.
        model: the served model's name.
        version_label: of the version that opens sessions.
        timeout: seconds for opening a session or scoring a list.
        page_size: candidates of one call.
        cache: of gates, for sessions that are opened with a key.
        tls: default: in the clear.
        on_call: told of every call when it ended, on the loop: must not block.

    Example:
        async with AsyncSessionRanker("127.0.0.1:8500", scenario.features) as ranker:
            session = await ranker.open_session(Session(behaviors, query, user))
            first = await session.rank(candidates[:100])
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
            self._channel = grpc.aio.secure_channel(self.target, tls.credentials, options=connection.options)
        else:
            self._channel = grpc.aio.insecure_channel(self.target, options=connection.options)
        self._methods = callables(self._channel)

    async def wait_until_ready(self, seconds: float) -> None:
        """As of `SessionRanker`."""
        try:
            await asyncio.wait_for(self._channel.channel_ready(), seconds)
        except TimeoutError:
            raise RankingError.of_status(
                "UNAVAILABLE", self._model.name, self.target, f"not reached within {seconds:g} s"
            ) from None

    async def open_session(self, session: Session, key: str | None = None) -> AsyncOpenSession:
        """As of `SessionRanker`."""
        state = SessionState(session, key)
        await self.run(open_session(self._model, state))
        return AsyncOpenSession(self, state)

    async def run(self, steps: Steps[T]) -> T:
        """Sends what the steps ask for, within the timeout."""
        deadline = time.monotonic() + self.timeout
        try:
            calls = next(steps)
            while True:
                answers = await asyncio.gather(*(self._send(call, deadline) for call in calls))
                calls = steps.send(list(answers))
        except StopIteration as done:
            result: T = done.value
            return result

    async def score(self, state: SessionState, candidates: Sequence[Values]) -> np.ndarray:
        """As of `AsyncOpenSession.score`."""
        return await self.run(score(self._model, state, candidates))

    async def close(self) -> None:
        """Closes the connection; open sessions end with it."""
        await self._channel.close()

    async def __aenter__(self) -> AsyncSessionRanker:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _send(self, call: Call, deadline: float) -> Any:
        started = time.monotonic()
        try:
            answer: Any = await self._methods[call.method](call.request, timeout=max(deadline - started, 0.0))
        except grpc.aio.AioRpcError as error:
            answer = RankingError.of_status(error.code().name, self._model.name, self.target, error.details())
        except grpc.aio.UsageError as error:  # how gRPC refuses a call on a closed channel
            raise RankingError("CANCELLED", "this AsyncSessionRanker is closed; open another") from error
        tell(self._on_call, call_record(call, answer, time.monotonic() - started))
        return answer


class AsyncOpenSession:
    """As `OpenSession`, with a `score` and a `rank` to wait for."""

    def __init__(self, ranker: AsyncSessionRanker, state: SessionState) -> None:
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

    async def score(self, candidates: Sequence[Values]) -> np.ndarray:
        """As of `OpenSession.score`."""
        return await self._ranker.score(self._state, candidates)

    async def rank(self, candidates: Sequence[Values]) -> list[Ranked]:
        """The candidates' positions and scores, best first; equal scores keep the order given."""
        return ranked(await self.score(candidates))
