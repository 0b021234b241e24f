"""What the embedded server counts, for Prometheus."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from serving.protocol import OUTPUTS
from serving.serving_error import ServingError

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class ServerMetrics:
    """The metrics of one server, in a registry of its own: several servers of a process do not mix."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "awmoe_requests", "Predict requests that ended.", ["signature", "code"], registry=self.registry
        )
        self._seconds = Histogram(
            "awmoe_request_seconds",
            "From a Predict request's arrival to its answer.",
            ["signature"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._batch_requests = Histogram(
            "awmoe_batch_requests", "Requests run as one.", ["signature"], buckets=_SIZES, registry=self.registry
        )
        self._batch_sessions = Histogram(
            "awmoe_batch_sessions", "Sessions run as one.", ["signature"], buckets=_SIZES, registry=self.registry
        )
        self._queue = Gauge("awmoe_queue_length", "Requests that wait for a worker.", registry=self.registry)

    def watch(self, queue_length: Callable[[], int], versions: Callable[[], dict[int, bool]]) -> None:
        """What is read when the metrics are.

        Args:
            queue_length: requests that wait.
            versions: those loaded, and whether it is the one that answers by default.
        """
        self._queue.set_function(queue_length)
        self.registry.register(_Versions(versions))

    @contextmanager
    def observed(self, signature: str) -> Iterator[None]:
        """Counts a request by how the block ends, with its seconds."""
        # a name that a client made up must not become a time series
        signature = signature if signature in OUTPUTS else "other"
        started = time.perf_counter()
        code = "INTERNAL"
        try:
            yield
            code = "OK"
        except ServingError as error:
            code = error.code.name
            raise
        except (CancelledError, asyncio.CancelledError):
            code = "CANCELLED"
            raise
        finally:
            self._requests.labels(signature, code).inc()
            self._seconds.labels(signature).observe(time.perf_counter() - started)

    def batch(self, signature: str, requests: int, sessions: int) -> None:
        """Counts what is run as one."""
        self._batch_requests.labels(signature).observe(requests)
        self._batch_sessions.labels(signature).observe(sessions)

    def text(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self.registry)


class _Versions(Collector):
    def __init__(self, versions: Callable[[], dict[int, bool]]) -> None:
        self._versions = versions

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """One number a version."""
        family = GaugeMetricFamily(
            "awmoe_version_loaded", "Loaded versions; 1 for the one that answers by default.", labels=["version"]
        )
        for version, current in self._versions().items():
            family.add_metric([str(version)], float(current))
        yield family
