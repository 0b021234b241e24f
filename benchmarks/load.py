"""Sends calls as fast as they are answered, or at a given rate, and times them."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np


def calls_per_second(call: Callable[[], object], clients: int, seconds: float) -> float:
    """How many calls end in a second while `clients` send one after the other."""
    stop = time.perf_counter() + seconds

    def one_client() -> int:
        calls = 0
        while time.perf_counter() < stop:
            call()
            calls += 1
        return calls

    started = time.perf_counter()
    with ThreadPoolExecutor(clients) as threads:
        calls = sum(future.result() for future in [threads.submit(one_client) for _ in range(clients)])
    return calls / (time.perf_counter() - started)


def results_at_rate(call: Callable[[float], tuple[float, ...]], rate: float, seconds: float, seed: int) -> np.ndarray:
    """What calls return that are sent at random times, `rate` a second, whether earlier ones were answered or not.

    Args:
        call: gets the time it should have been sent at, as of `time.perf_counter`, so that a wait for a free
            thread of this process counts.
        rate: calls a second.
        seconds: how long.
        seed: of the times.

    Returns:
        Row by row, [calls, values].
    """
    gaps = np.random.default_rng(seed).exponential(1 / rate, max(int(rate * seconds), 1))
    times = time.perf_counter() + np.cumsum(gaps)
    with ThreadPoolExecutor(64) as threads:
        futures = []
        for due in times.tolist():
            time.sleep(max(due - time.perf_counter(), 0))
            futures.append(threads.submit(call, due))
        return np.array([future.result() for future in futures])
