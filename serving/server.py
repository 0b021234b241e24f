"""The embedded model server: TensorFlow Serving's gRPC and REST from the same version directories."""

from __future__ import annotations

import faulthandler
import logging
import signal
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from pipeline.errors import InputError
from serving.model_versions import ModelVersions
from serving.predict_service import PredictService
from serving.predictor import Predictor
from serving.refuse_malformed import RefuseMalformed
from serving.rest_server import RestServer
from serving.server_tls import ServerTls
from serving.status_service import StatusService

_log = logging.getLogger(__name__)
#: Bytes of one request; gRPC's own limit of 4 MiB is about 5,000 candidates.
MAX_REQUEST_BYTES = 64 * 2**20
#: Threads of gRPC beside those that hold requests: they refuse what does not fit, and answer health and status.
_SPARE_THREADS = 16
#: Seconds until a signal is noticed.
_SIGNAL_SECONDS = 0.1
#: Seconds that libraries may take beyond the grace to be down.
_SPARE_SECONDS = 10.0


class ModelServer:
    """Serves the newest version under a model's directory until stopped; a context manager.

    Args:
        directory: has the versions, as `awmoe export` writes them; its name is the model's,
            for a symbolic link the link's own.
        host: address to listen on.
        port: of gRPC; 0 takes a free one, `target` tells which.
        rest_port: of REST and metrics; 0 takes a free one, `rest_target` tells which; None: no REST.
        poll_seconds: how often to look for a new version.
        labels: of versions, such as `{"canary": 7}`; they stay loaded.
        workers: batches run at the same time; default: the processor's cores.
        max_batch: most sessions that are run as one.
        max_waiting: requests in the queue; more are answered RESOURCE_EXHAUSTED.
        seconds: until a request without a deadline of its own is answered DEADLINE_EXCEEDED.
        max_request_bytes: of one request.
        tls: of gRPC and REST; None: in the clear.
        drain: seconds between reporting NOT_SERVING and taking no new requests, for load balancers to notice.
        grace: seconds that requests in flight have to end when the server stops.

    Raises:
        InputError: no version there, it or a labelled one cannot be loaded, an address is taken, or a TLS file
            is wrong.

    Example:
        with ModelServer(Path("models/awmoe"), port=8500, rest_port=8501) as server:
            server.wait()
    """

    def __init__(
        self,
        directory: Path,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        rest_port: int | None = None,
        poll_seconds: float = 1.0,
        labels: Mapping[str, int] | None = None,
        workers: int | None = None,
        max_batch: int = 32,
        max_waiting: int = 128,
        seconds: float = 30.0,
        max_request_bytes: int = MAX_REQUEST_BYTES,
        tls: ServerTls | None = None,
        drain: float = 0.0,
        grace: float = 5.0,
    ) -> None:
        credentials, context = (tls.credentials(), tls.context()) if tls else (None, None)
        self._versions = ModelVersions(Path(directory), labels)
        #: The name that clients ask for.
        self.model_name = self._versions.model_name
        self._drain = drain
        self._grace = grace
        self._stopped = False
        self._predictor = Predictor(
            self._versions, workers=workers, max_batch=max_batch, max_waiting=max_waiting, seconds=seconds
        )
        self._server = grpc.server(
            ThreadPoolExecutor(self._predictor.capacity + _SPARE_THREADS, thread_name_prefix="grpc"),
            interceptors=[RefuseMalformed()],
            # without SO_REUSEPORT a taken port is an error, not a second server that gets half the requests
            options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", max_request_bytes)],
        )
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
            PredictService(self._predictor), self._server
        )
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(StatusService(self._versions), self._server)
        self._health = health.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        for service in ("", self.model_name):
            self._health.set(service, health_pb2.HealthCheckResponse.SERVING)
        self._rest: RestServer | None = None
        try:
            #: Where clients reach gRPC, `host:port`.
            self.target = f"{host}:{self._bind(f'{host}:{port}', credentials)}"
            if rest_port is not None:
                self._rest = RestServer(
                    self._predictor,
                    host=host,
                    port=rest_port,
                    max_request_bytes=max_request_bytes,
                    grace=grace,
                    tls=context,
                )
        except InputError:
            self._server.stop(0)
            self._predictor.close()
            raise
        self._poll_seconds = poll_seconds
        self._stopping = threading.Event()
        self._poller = threading.Thread(target=self._poll, name="versions", daemon=True)
        self._server.start()
        self._poller.start()

    @property
    def rest_target(self) -> str | None:
        """Where clients reach REST, `host:port`; None without."""
        return self._rest.target if self._rest else None

    @property
    def version(self) -> int:
        """The version that answers requests that name none."""
        return self._versions.current.version

    def wait(self) -> None:
        """Serves until SIGTERM or SIGINT, then stops gracefully; only from the main thread.

        A server that is not down in time ends the process, with code 1 and what each thread was at on standard error.
        """
        asked: list[int] = []
        previous = {
            number: signal.signal(number, lambda number, _: asked.append(number))
            for number in (signal.SIGTERM, signal.SIGINT)
        }
        try:
            # Not `Event.wait`: a handler that came while it holds its lock could not set it, and a signal that another
            # thread got would not wake it.
            while not asked and not self._stopping.is_set():
                time.sleep(_SIGNAL_SECONDS)
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
            # A thread of TensorFlow or gRPC that hangs would keep the process for ever.
            in_time = self._drain + 2 * (self._grace + _SPARE_SECONDS)  # the graces of gRPC and REST
            faulthandler.dump_traceback_later(in_time, exit=True)
            try:
                self.stop()
            finally:
                faulthandler.cancel_dump_traceback_later()

    def stop(self, grace: float | None = None) -> None:
        """Reports NOT_SERVING, takes no new requests, gives those in flight `grace` seconds, returns when all is down.

        Args:
            grace: default: the server's own; REST always has that.
        """
        self._health.enter_graceful_shutdown()
        if not self._stopped:
            self._stopped = True
            time.sleep(self._drain)
        self._stopping.set()
        grace = self._grace if grace is None else grace
        stopped = self._server.stop(grace)
        if self._rest is not None:
            self._rest.stop()
            self._rest = None
        if not stopped.wait(grace + _SPARE_SECONDS):
            _log.warning("gRPC is not down %g s after its grace; going on without it", _SPARE_SECONDS)
        self._predictor.close()
        # A version that it loads just now nobody will ask for.
        self._poller.join(timeout=1.0)

    def _bind(self, address: str, credentials: grpc.ServerCredentials | None) -> int:
        try:
            if credentials is None:
                return self._server.add_insecure_port(address)
            return self._server.add_secure_port(address, credentials)
        except RuntimeError:
            raise InputError(f"{address}: cannot listen there; is another server running?") from None

    def __enter__(self) -> ModelServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _poll(self) -> None:
        while not self._stopping.wait(self._poll_seconds):
            try:
                self._versions.refresh()
            except Exception:  # whatever a new version does, the loaded one keeps answering
                _log.exception("looking for a new version failed; still serving version %d", self.version)
