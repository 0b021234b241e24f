"""Numbers of an entity (an item, a brand, a user) as of a time: only events strictly before it count."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pipeline.features import AsOf
from pipeline.timeline import Timeline
from pipeline.user_history import ACTIONS

_DAY = 86_400


class EntityHistory:
    """Events of entities of one kind, sorted once, to compute as-of numbers at any time.

        count     events in [time - window, time)
        age_days  (time - first event) / 86,400, NaN without an event before

    Args:
        code: the entity of each event, integers from 0.
        action: of each event, positions in `ACTIONS`.
        time: of each event, seconds.
    """

    def __init__(self, code: np.ndarray, action: np.ndarray, time: np.ndarray) -> None:
        self._all, order = Timeline.build(code, time)
        self._times = time[order]
        self._by_action = {
            name: Timeline.build(code[action == number], time[action == number])[0]
            for number, name in enumerate(ACTIONS)
        }

    def numbers(self, features: Mapping[str, AsOf], code: np.ndarray, time: np.ndarray) -> dict[str, np.ndarray]:
        """The features' values for entities at times.

        Args:
            features: with measure `count` or `age_days`.
            code: `[R]`; -1 for no entity, which has no events.
            time: `[R]`, seconds.

        Returns:
            float32 `[R]` for each feature.
        """
        return {
            name: self._count(feature, code, time) if feature.measure == "count" else self._age(code, time)
            for name, feature in features.items()
        }

    def _count(self, feature: AsOf, code: np.ndarray, time: np.ndarray) -> np.ndarray:
        timeline = self._all if feature.action is None else self._by_action[feature.action]
        if feature.window_days is None:
            begin = timeline.first(code)
        else:
            begin = timeline.position(code, time - round(feature.window_days * _DAY))
        return (timeline.position(code, time) - begin).astype(np.float32)

    def _age(self, code: np.ndarray, time: np.ndarray) -> np.ndarray:
        first = self._all.first(code)
        known = self._all.position(code, time) > first
        age = np.full(len(code), np.nan, np.float32)
        age[known] = (time[known] - self._times[first[known]]) / _DAY
        return age


def entity_features(features: Mapping[str, AsOf]) -> dict[str, dict[str, AsOf]]:
    """Declared as-of features by entity, without `bought_with`, which is a number of two items."""
    by_entity: dict[str, dict[str, AsOf]] = {}
    for name, feature in features.items():
        if feature.measure != "bought_with":
            by_entity.setdefault(feature.entity, {})[name] = feature
    return by_entity
