"""The embedded model server: TensorFlow Serving's gRPC protocol from the same version directories.

For development, tests and small installations; a client cannot tell it from TensorFlow
Serving. It has no request batching and no REST.
"""

from __future__ import annotations

import logging
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

import grpc
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from pipeline.errors import InputError
from serving.model_versions import ModelVersions
from serving.predict_service import PredictService
from serving.status_service import StatusService

_log = logging.getLogger(__name__)
#: Bytes of one request; gRPC's own limit of 4 MiB is about 5,000 candidates.
_MAX_REQUEST = 64 * 2**20


class ModelServer:
    """Serves the newest version under a model's directory until stopped; a context manager.

    Args:
        directory: has the versions, as `awmoe export` writes them; its name is the model's,
            for a symbolic link the link's own.
        host: address to listen on.
        port: 0 takes a free one; `target` tells which.
        poll_seconds: how often to look for a new version.
        threads: requests answered at the same time.

    Raises:
        InputError: no version there, it cannot be loaded, or the address is taken.

    Example:
        with ModelServer(Path("models/awmoe"), port=8500) as server:
            server.wait()
    """

    def __init__(
        self,
        directory: Path,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        poll_seconds: float = 1.0,
        threads: int = 8,
    ) -> None:
        #: The name that clients ask for.
        self.model_name = Path(directory).absolute().name
        self._versions = ModelVersions(Path(directory))
        self._server = grpc.server(
            ThreadPoolExecutor(threads, thread_name_prefix="predict"),
            # without SO_REUSEPORT a taken port is an error, not a second server that gets half the requests
            options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", _MAX_REQUEST)],
        )
        predict = PredictService(self.model_name, self._versions)
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(predict, self._server)
        status = StatusService(self.model_name, self._versions)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(status, self._server)
        try:
            bound = self._server.add_insecure_port(f"{host}:{port}")
        except RuntimeError:
            raise InputError(f"{host}:{port}: cannot listen there; is another server running?") from None
        #: Where clients reach it, `host:port`.
        self.target = f"{host}:{bound}"
        self._poll_seconds = poll_seconds
        self._stopping = threading.Event()
        self._poller = threading.Thread(target=self._poll, name="versions", daemon=True)
        self._server.start()
        self._poller.start()

    @property
    def version(self) -> int:
        """The version that answers requests that name none."""
        return self._versions.current.version

    def wait(self) -> None:
        """Serves until SIGTERM or SIGINT, then stops gracefully; only from the main thread."""
        previous = {
            number: signal.signal(number, lambda *_: self._stopping.set()) for number in (signal.SIGTERM, signal.SIGINT)
        }
        try:
            self._stopping.wait()
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
            self.stop()

    def stop(self, grace: float = 5.0) -> None:
        """Takes no new requests, gives those in flight `grace` seconds, returns when all is down."""
        self._stopping.set()
        self._server.stop(grace).wait()
        self._poller.join()

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
