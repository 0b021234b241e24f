"""Runs the trials of an experiment, and goes on where it was stopped."""

from __future__ import annotations

import gc
import logging
import os
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

import tensorflow as tf

from experiments.error_of_trial import error_of_trial
from experiments.trial import Trial, TrialResult, finished_trial
from experiments.trial_process import train_in_process
from experiments.trial_progress import TrialProgress
from pipeline.errors import InputError
from pipeline.prepared_data import PreparedData


def run_trials(trials: Sequence[Trial], data: PreparedData, experiment: Path, *, jobs: int = 1) -> list[TrialResult]:
    """Trains and scores what is not done yet; progress goes to standard error.

    A trial that was stopped half-way is trained anew. With one seed and the same data a trial gives
    the same scores, up to the order in which threads add numbers.

    Args:
        trials: with distinct directories.
        data: the same in every call on one experiment.
        experiment: directory that gets `trials/`.
        jobs: trials trained at the same time, each in a process of its own with its share of the cores.

    Returns:
        The results, in the order of `trials`.

    Raises:
        InputError: a trial was done before with another scenario or on other data, before any training;
            or trials failed, whatever the reason, after all others are done: a line each.
    """
    for trial in trials:
        data.check_features(trial.scenario)
    finished = [finished_trial(trial, data, experiment) for trial in trials]
    todo = [trial for trial, result in zip(trials, finished, strict=True) if result is None]
    errors = []
    with TrialProgress(len(trials), [result.facts for result in finished if result], todo, jobs) as progress:
        run = _here(todo, data, experiment, progress) if jobs == 1 else _apart(todo, data, experiment, progress, jobs)
        with closing(run):
            for trial, seconds, error in run:
                progress.end(trial, None if error else seconds)
                if error:
                    errors.append(f"{trial.name}: {error}")
    if errors:
        raise InputError("\n".join([*errors, "the other trials are done; the same command goes on from there"]))
    return [result for trial in trials if (result := finished_trial(trial, data, experiment))]


_INTRA_OP_THREADS = "TF_NUM_INTRAOP_THREADS"

#: A trial that ended, after how many seconds, and with what error.
_Ended = tuple[Trial, float, str]


def _here(
    todo: Sequence[Trial], data: PreparedData, experiment: Path, progress: TrialProgress
) -> Generator[_Ended, None, None]:
    # a new model a trial is meant; TensorFlow warns of it after the fifth
    logging.getLogger("tensorflow").addFilter(_no_retracing)
    for trial in todo:
        progress.start(trial)
        started = time.perf_counter()
        error = error_of_trial(trial, data, experiment)
        yield trial, time.perf_counter() - started, error
        # Keras keeps what it ever built
        tf.keras.backend.clear_session()
        gc.collect()


def _no_retracing(record: logging.LogRecord) -> bool:
    return "triggered tf.function retracing" not in record.getMessage()


def _apart(
    todo: Sequence[Trial], data: PreparedData, experiment: Path, progress: TrialProgress, jobs: int
) -> Generator[_Ended, None, None]:
    context = get_context("spawn")
    threads = max(1, (os.cpu_count() or 1) // jobs)
    waiting = list(reversed(todo))
    running: dict[int, tuple[Trial, BaseProcess, Connection, float]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                trial = waiting.pop()
                ours, theirs = context.Pipe(duplex=False)
                process: BaseProcess = context.Process(
                    target=train_in_process,
                    args=(trial.label, trial.scenario, data, experiment, theirs),
                    daemon=True,
                )
                with _threads(threads):
                    process.start()
                theirs.close()
                progress.start(trial)
                running[process.sentinel] = trial, process, ours, time.perf_counter()
            for sentinel in wait(list(running)):
                assert isinstance(sentinel, int)
                trial, process, ours, started = running.pop(sentinel)
                yield trial, time.perf_counter() - started, _said(process, ours)
    finally:
        for _, process, _, _ in running.values():
            process.kill()


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Processes started inside compute each operation with so many threads.

    The environment says it, since a process may load the caller's script, and TensorFlow with it, before
    it comes to our code. Not the threads between operations: with one of them reading the records may
    wait for itself.
    """
    before = os.environ.get(_INTRA_OP_THREADS)
    os.environ[_INTRA_OP_THREADS] = str(count)
    try:
        yield
    finally:
        if before is None:
            del os.environ[_INTRA_OP_THREADS]
        else:
            os.environ[_INTRA_OP_THREADS] = before


def _said(process: BaseProcess, connection: Connection) -> str:
    """The error that a process which ended told of; empty if it told that all is well."""
    process.join()
    try:
        error: str = connection.recv()
    except EOFError:
        return f"its process ended with code {process.exitcode}; was there enough memory?"
    finally:
        connection.close()
    return error
