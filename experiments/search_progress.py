"""Progress of a search, whose settings are trained one after another."""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil

from rich.console import Console

from experiments.setting_text import setting_text
from experiments.sweep_result import Setting
from experiments.trial import TrialFacts
from experiments.trial_progress import duration


class SearchProgress:
    """A line before each setting, above the bar of its trials: which of how many it is, and what is left of all.

    Args:
        total: settings of the search.
        seeds: trials of each.
        jobs: trials that run at the same time.
    """

    def __init__(self, total: int, seeds: int, jobs: int) -> None:
        self._total, self._rounds = total, ceil(seeds / jobs)
        self._console = Console(stderr=True)

    def start(self, number: int, setting: Setting, finished: Iterable[TrialFacts]) -> None:
        """A setting begins.

        Args:
            number: from 0.
            setting: to be tried.
            finished: facts of trials that are done, whose mean time the estimate goes by.
        """
        seconds = [facts.training_seconds for facts in finished]
        left = ""
        if seconds:
            whole = sum(seconds) / len(seconds) * self._rounds * (self._total - number)
            left = f"; about {duration(whole)} left in the whole search"
        line = f"search: setting {number + 1} of {self._total}, {setting_text(setting)}{left}"
        self._console.print(line, highlight=False, soft_wrap=True)
