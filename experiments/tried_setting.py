"""A setting of a sweep with its finished trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from experiments.comparison import FULL, Summary
from experiments.linearised import linearised
from experiments.over_seeds import over_seeds
from experiments.significance import difference_test
from experiments.sweep_result import Setting
from experiments.trial import TrialResult
from model.session_values import session_numbers, session_values


@dataclass(frozen=True)
class TriedSetting:
    """Metrics of a setting over its seeds.

    Attributes:
        setting: what was tried.
        results: a trial a seed.
        metric: of `SESSION_METRICS`, of the test part.
        part: the long-tail part: a slice, or `full`.
    """

    setting: Setting
    results: Sequence[TrialResult]
    metric: str
    part: str

    @cached_property
    def validation(self) -> Summary:
        """Session AUC of the validation part, of each seed's best epoch."""
        return over_seeds([max(result.history()["val_session_auc"]) for result in self.results])

    @property
    def value(self) -> float:
        """What a setting is chosen by; a validation part without both classes says nothing."""
        return 0.5 if self.validation.mean is None else self.validation.mean

    @property
    def on_part(self) -> Summary:
        """The metric on the long-tail part."""
        return self._summary(self.part)

    @property
    def on_full(self) -> Summary:
        """The metric on the full test part."""
        return self._summary(FULL)

    def p_against(self, other: TriedSetting) -> float | None:
        """Of the difference on the long-tail part, over sessions and seeds; None where it cannot be tested.

        A session may lack the metric with one setting and have it with another: as in a comparison,
        means are over the sessions that have it, and their test accounts for it (`linearised`).
        """
        ours, theirs = self._values[self.part], other._values[self.part]
        if other.setting == self.setting or min(len(ours), len(theirs)) < 2 or ours.shape[1] < 2:
            return None
        if not all(np.isfinite(values).any(axis=1).all() for values in (ours, theirs)):
            return None
        return difference_test(linearised(ours), linearised(theirs)).p

    @cached_property
    def _values(self) -> dict[str, np.ndarray]:
        """By part, `[seeds, sessions]`, of the sessions with both classes; NaN where the metric is not defined."""
        values: dict[str, list[np.ndarray]] = {self.part: [], FULL: []}
        for result in self.results:
            candidates = result.scores()
            for part, of_seeds in values.items():
                rows = candidates if part == FULL else candidates.filter(candidates[f"slice_{part}"])
                metrics = session_values(rows, session_numbers(rows))
                of_seeds.append(metrics[self.metric][np.isfinite(metrics["auc"])])
        return {part: np.stack(of_seeds) for part, of_seeds in values.items()}

    def _summary(self, part: str) -> Summary:
        known = (values[np.isfinite(values)] for values in self._values[part])
        return over_seeds([float(values.mean()) if len(values) else None for values in known])
