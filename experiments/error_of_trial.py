"""A trial whose failure is told, not raised: the others of an experiment go on."""

from __future__ import annotations

import logging
from pathlib import Path

from experiments.trial import Trial, run_trial
from pipeline.errors import InputError
from pipeline.prepared_data import PreparedData

_log = logging.getLogger(__name__)


def error_of_trial(trial: Trial, data: PreparedData, experiment: Path) -> str:
    """Runs a trial; what went wrong in one line, an empty string if nothing did."""
    try:
        run_trial(trial, data, experiment)
    except InputError as error:
        return str(error)
    except Exception as error:  # a full disk, too little memory, a mistake of ours: hours of other trials go on
        _log.exception("%s failed", trial.name)
        first = str(error).strip().splitlines()
        return f"{type(error).__name__}: {first[0] if first else 'no message'}"
    return ""
