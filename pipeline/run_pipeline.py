"""Runs a Beam pipeline to its end, and tells what went wrong in one line where the user can mend it."""

from __future__ import annotations

import logging
import re

import apache_beam as beam
from apache_beam.runners.runner import PipelineResult

from pipeline.errors import InputError
from pipeline.quiet_workers import quiet_workers


def run_pipeline(pipeline: beam.Pipeline) -> PipelineResult:
    """The result of a pipeline that has run to its end.

    Raises:
        InputError: one was raised in a worker; its message alone.
        KeyboardInterrupt: somebody stopped it.
    """
    _quiet_beam()
    quiet_workers()
    try:
        result = pipeline.run()
        result.wait_until_finish()
    except Exception as error:
        if "KeyboardInterrupt" in str(error):  # Ctrl-C reaches a worker's thread first
            raise KeyboardInterrupt from None
        # A worker's exception comes back with the step's name behind its message, or as the text of a traceback.
        told = re.findall(r"pipeline\.errors\.InputError: (.*)", str(error))
        if not told and not isinstance(error, InputError):
            raise
        raise InputError(re.sub(r" \[while running.*", "", (told or [str(error)])[-1], flags=re.DOTALL)) from None
    return result


def _quiet_beam() -> None:
    """Beam tells warnings, but not the traceback of an error that the user is told in one line."""

    def is_news(record: logging.LogRecord) -> bool:
        told = record.exc_info and isinstance(record.exc_info[1], InputError | KeyboardInterrupt)
        return not told and not re.search(r"pipeline\.errors\.InputError|KeyboardInterrupt", record.getMessage())

    logging.getLogger("apache_beam").setLevel(logging.WARNING)
    for name in ("common", "worker.sdk_worker", "portability.local_job_service"):
        logging.getLogger(f"apache_beam.runners.{name}").addFilter(is_news)
