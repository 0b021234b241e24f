"""The embedded server's REST side: an event loop on a thread of its own."""

from __future__ import annotations

import asyncio
import ssl
import threading
from concurrent.futures import Future, ThreadPoolExecutor

from aiohttp import web

from pipeline.errors import InputError
from serving.predictor import Predictor
from serving.rest_app import rest_app

#: Threads that parse and check; more would only wait for Python's lock.
_THREADS = 4


class RestServer:
    """Answers REST from a `Predictor` until stopped.

    Args:
        predictor: answers.
        host: address to listen on.
        port: 0 takes a free one.
        max_request_bytes: of a body.
        grace: seconds that requests have to end when it stops.
        tls: None: in the clear.

    Raises:
        InputError: the address is taken.
    """

    def __init__(
        self,
        predictor: Predictor,
        *,
        host: str,
        port: int,
        max_request_bytes: int,
        grace: float,
        tls: ssl.SSLContext | None,
    ) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="rest check")
        app = rest_app(predictor, self._threads, max_request_bytes)
        # a client that goes away takes its request with it
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=grace, access_log=None)
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        bound: Future[int] = Future()
        self._thread = threading.Thread(
            target=lambda: self._loop.run_until_complete(self._serve(host, port, tls, bound)), name="rest", daemon=True
        )
        self._thread.start()
        try:
            #: Where clients reach it, `host:port`.
            self.target = f"{host}:{bound.result()}"
        except OSError:
            self._close()
            raise InputError(f"{host}:{port}: cannot listen there; is another server running?") from None

    def stop(self) -> None:
        """Takes no new requests, gives those in flight their grace, returns when all is down."""
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._close()

    def _close(self) -> None:
        self._thread.join()
        self._loop.close()
        self._threads.shutdown()

    async def _serve(self, host: str, port: int, tls: ssl.SSLContext | None, bound: Future[int]) -> None:
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port, ssl_context=tls).start()
            bound.set_result(self._runner.addresses[0][1])
            await self._stopping.wait()
        except OSError as error:
            bound.set_exception(error)
        finally:
            await self._runner.cleanup()
