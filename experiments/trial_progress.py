"""Progress of an experiment: how many trials are done, which run, how long the rest will take."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from experiments.trial import Trial, TrialFacts


class TrialProgress:
    """A bar for a person, a line a trial for a log file; on standard error.

    What is left is estimated from the mean time of the finished trials, those of the same label
    where there are any.

    Args:
        total: trials, finished ones included.
        finished: facts of those that were done before.
        todo: the others.
        jobs: trials that run at the same time.
    """

    def __init__(self, total: int, finished: Sequence[TrialFacts], todo: Sequence[Trial], jobs: int) -> None:
        self._total, self._jobs = total, jobs
        self._done = len(finished)
        self._seconds: dict[str, list[float]] = {}
        for facts in finished:
            self._seconds.setdefault(facts.label, []).append(facts.training_seconds)
        self._left = list(todo)
        self._running: list[Trial] = []
        self._console = Console(stderr=True)
        columns = (TextColumn("trials"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._progress = Progress(
            *columns, TextColumn("{task.description}"), console=self._console, disable=not self._console.is_terminal
        )
        self._task = self._progress.add_task("", total=total, completed=self._done)

    def __enter__(self) -> TrialProgress:
        self._progress.start()
        if self._done:
            self._tell(f"{self._done} of {self._total} trials were done before")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
        if kind is not None:
            self._tell(f"stopped: {self._done} of {self._total} trials are done; the same command goes on from there")

    def start(self, trial: Trial) -> None:
        """A trial begins."""
        self._running.append(trial)
        self._show()

    def end(self, trial: Trial, seconds: float | None) -> None:
        """A trial took so long, or failed: None."""
        self._running.remove(trial)
        self._left.remove(trial)
        what = f"{trial.name} failed"
        if seconds is not None:
            self._done += 1
            self._seconds.setdefault(trial.label, []).append(seconds)
            what = f"{trial.name} took {duration(seconds)}"
        self._show()
        self._tell(f"{what}; {self._done} of {self._total} trials are done{self.left()}")

    def left(self) -> str:
        """About how long the rest takes, for the end of a sentence; empty before there is a time to go by."""
        everything = [seconds for times in self._seconds.values() for seconds in times]
        if not everything or not self._left:
            return ""
        times = [self._seconds.get(trial.label, everything) for trial in self._left]
        seconds = sum(sum(trials) / len(trials) for trials in times) / min(self._jobs, len(self._left))
        return f", about {duration(seconds)} left"

    def _show(self) -> None:
        names = ", ".join(trial.name for trial in self._running)
        self._progress.update(self._task, completed=self._done, description=f"{names}{self.left()}")

    def _tell(self, line: str) -> None:
        self._console.print(line, highlight=False, soft_wrap=True)


def duration(seconds: float) -> str:
    """In the unit that a person would use."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
