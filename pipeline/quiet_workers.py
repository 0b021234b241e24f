"""Keeps quiet about workers that a runner has told to stop."""

from __future__ import annotations

import logging
import threading

#: How Beam's job servers close the data channel of a worker that has no more work.
_FAREWELL = "Multiplexer hanging up"


def quiet_workers() -> None:
    """With LOOPBACK workers Beam prints a traceback for each one that Flink lets go; this leaves those out.

    Only that farewell is left out. Whatever else ends a worker is told as before, and a job that
    fails raises by itself. Calling it again changes nothing.
    """
    data_plane = logging.getLogger("apache_beam.runners.worker.data_plane")
    if _is_news not in data_plane.filters:
        data_plane.addFilter(_is_news)
        tell = threading.excepthook

        def tell_news(what: threading.ExceptHookArgs) -> None:
            if _FAREWELL not in str(what.exc_value):
                tell(what)

        threading.excepthook = tell_news


def _is_news(record: logging.LogRecord) -> bool:
    return not (record.exc_info and _FAREWELL in str(record.exc_info[1]))
