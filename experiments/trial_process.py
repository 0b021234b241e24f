"""A trial in a process of its own.

Imports nothing heavy at the top: what TensorFlow says when it starts is kept from the terminal.
"""

from __future__ import annotations

import os
import signal
import threading
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.quiet_tensorflow import quiet_tensorflow

if TYPE_CHECKING:
    from pipeline.config import Scenario
    from pipeline.prepared_data import PreparedData


def train_in_process(
    label: str, scenario: Scenario, data: PreparedData, experiment: Path, connection: Connection
) -> None:
    """Runs a trial and sends its error, an empty string if there is none.

    Args:
        label: of the trial; `Trial` itself would bring TensorFlow along.
        scenario: of the trial.
        data: that it trains on.
        experiment: directory that gets the trial.
        connection: gets the error.
    """
    # Ctrl-C goes to all processes of a terminal; the parent ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with quiet_tensorflow():
        from experiments.error_of_trial import error_of_trial
        from experiments.trial import Trial
    connection.send(error_of_trial(Trial(label, scenario), data, experiment))


def _end_with_parent() -> None:
    """A parent that is killed ends its trials too: started again, it would write to their directories."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
