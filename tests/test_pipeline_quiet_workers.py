"""A worker's farewell is left out; every other error is told."""

import logging
import threading

import pytest

from pipeline.quiet_workers import quiet_workers


def fail(message: str) -> None:
    raise RuntimeError(message)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_only_the_farewell_of_a_worker_is_left_out(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[str] = []
    monkeypatch.setattr(threading, "excepthook", lambda what: told.append(str(what.exc_value)))
    logger = logging.getLogger("apache_beam.runners.worker.data_plane")
    monkeypatch.setattr(logger, "filters", [])
    quiet_workers()
    quiet_workers()
    assert len(logger.filters) == 1
    for message in ("details = Multiplexer hanging up", "out of memory"):
        thread = threading.Thread(target=fail, args=(message,))
        thread.start()
        thread.join()
        try:
            fail(message)
        except RuntimeError:
            logger.exception("Failed to read inputs in the data plane.")
    assert told == ["out of memory"]
    assert [str(record.exc_info[1]) for record in caplog.records if record.exc_info] == ["out of memory"]
