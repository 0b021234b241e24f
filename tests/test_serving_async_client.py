"""The asyncio client against a real server: what the other one gives, in one loop."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from random_run import random_run

from export.publish import export
from serving.async_client import AsyncSessionRanker
from serving.call import CallRecord
from serving.client import SessionRanker
from serving.errors import RankingError, RequestError
from serving.gate_cache import GateCache
from serving.request import Session
from serving.server import ModelServer
from tiny_data import tiny_scenario

FEATURES = tiny_scenario().features
SESSION = Session(query={"terms": "term_1"}, user={"activity": 3})
PAGE = [{"item_id": f"item_{i}", "brand": f"brand_{i}", "price": 2.0 * i, "item_purchases": i} for i in range(7)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServer]:
    run = random_run(tiny_scenario(), tmp_path_factory.mktemp("data"))
    with ModelServer(export(run, tmp_path_factory.mktemp("models")).parent) as server:
        yield server


def test_sessions_at_once_get_the_other_clients_scores(server: ModelServer) -> None:
    records: list[CallRecord] = []

    async def all_sessions() -> list[np.ndarray]:
        async with AsyncSessionRanker(
            server.target, FEATURES, timeout=20, page_size=3, cache=GateCache(), on_call=records.append
        ) as ranker:
            await ranker.wait_until_ready(20)
            first = await ranker.open_session(SESSION, key="a")
            assert (first.version, first.gate.shape) == (1, (3,))
            assert [ranked.position for ranked in await first.rank(PAGE)] == list(np.argsort(-await first.score(PAGE)))
            opened = await asyncio.gather(*(ranker.open_session(SESSION, key="a") for _ in range(8)))
            return await asyncio.gather(*(session.score(PAGE) for session in opened))

    found = asyncio.run(all_sessions())
    with SessionRanker(server.target, FEATURES, timeout=20) as ranker:
        expected = ranker.open_session(SESSION).score(PAGE)
    for scores in found:
        np.testing.assert_allclose(scores, expected, atol=1e-6)
    assert [record.candidates for record in records].count(0) == 2, "metadata and gate once"


def test_failures_are_told_as_by_the_other_client(server: ModelServer) -> None:
    async def opened(target: str, model: str = "awmoe", timeout: float = 5, **session: object) -> None:
        async with AsyncSessionRanker(target, FEATURES, model=model, timeout=timeout) as ranker:
            await ranker.open_session(Session(query={"terms": "x", **session}))

    async def after_close() -> None:
        async with AsyncSessionRanker(server.target, FEATURES, timeout=5) as ranker:
            session = await ranker.open_session(SESSION)
        await session.score(PAGE)

    with pytest.raises(RequestError, match="unknown field `colour`"):
        asyncio.run(opened("127.0.0.1:1", colour="red"))
    with pytest.raises(RankingError, match="NOT_FOUND: model `other`"):
        asyncio.run(opened(server.target, model="other"))
    with pytest.raises(RankingError, match="is closed; open another"):
        asyncio.run(after_close())
    with socket.create_server(("127.0.0.1", 0)) as silent:
        started = time.monotonic()
        with pytest.raises(RankingError, match="DEADLINE_EXCEEDED"):
            asyncio.run(opened(f"127.0.0.1:{silent.getsockname()[1]}", timeout=0.3))
        assert time.monotonic() - started < 3


def test_waiting_for_a_server_ends(tmp_path: Path) -> None:
    async def wait() -> None:
        async with AsyncSessionRanker("127.0.0.1:1", FEATURES) as ranker:
            await ranker.wait_until_ready(0.2)

    with pytest.raises(RankingError, match="not reached within"):
        asyncio.run(wait())
