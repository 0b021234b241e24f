"""Groups of users that figures compare, as masks over sampled sessions."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from model.predict import in_slice
from pipeline.config import Scenario
from pipeline.features import Categorical, Features

#: At most so many behaviours are few, where no slice of the scenario says otherwise.
_FEW = 3
Raw = Mapping[str, np.ndarray]
#: Masks `[B]` over sessions by the group's name, in the order in which figures show them.
Groups = dict[str, np.ndarray]


def category_groups(features: Features, raw: Raw) -> Groups:
    """Users new and old to the query's category (Figure 2).

    A user is old to it who has a behaviour of that category: of a field that shares the table
    of a categorical query feature. In a scenario without, users without and with behaviours.
    """
    if pair := _category(features):
        query, behavior = (raw[name] for name in pair)
        old = ((behavior == query[:, np.newaxis]) & _real(raw, "behavior") & (behavior != b"")).any(axis=1)
        return {"new to the category": ~old, "old to the category": old}
    old = raw["behavior_count"] > 0
    return {"without behaviours": ~old, "with behaviours": old}


def target_groups(raw: Raw) -> Groups:
    """New users, and old ones without and with a behaviour of an item they then bought (Figure 7)."""
    bought = (raw["candidate_label"] > 0.5) & _real(raw, "candidate")
    items = raw["candidate_item_id"][:, :, np.newaxis] == raw["behavior_item_id"][:, np.newaxis, :]
    target = (items & bought[:, :, np.newaxis] & _real(raw, "behavior")[:, np.newaxis]).any(axis=(1, 2))
    new = raw["behavior_count"] == 0
    return {"new users": new, "old, without target": ~new & ~target, "old, with target": ~new & target}


def behavior_groups(scenario: Scenario, raw: Raw) -> Groups:
    """Users with no, few and many behaviours; what is few, the scenario's first such slice says."""
    few = next((part.max_behaviors for part in scenario.evaluation.slices if part.max_behaviors), _FEW)
    counts = raw["behavior_count"]
    middle = f"1 to {few} behaviours" if few > 1 else "1 behaviour"
    return {
        "no behaviours": counts == 0,
        middle: (counts > 0) & (counts <= few),
        f"more than {few}": counts > few,
    }


def slice_groups(scenario: Scenario, raw: Raw) -> Groups:
    """The scenario's slices; those by the number of behaviours are in `behavior_groups`."""
    slices = scenario.evaluation.slices
    return {part.name.replace("_", " "): in_slice(part, dict(raw)) for part in slices if part.feature is not None}


def _category(features: Features) -> tuple[str, str] | None:
    """Names of a query feature and of the behaviours' feature with the same table."""
    for query in features.query_features:
        for behavior in features.behavior_features:
            both = isinstance(query.declaration, Categorical) and isinstance(behavior.declaration, Categorical)
            if both and query.table == behavior.table and behavior.field != "item_id":
                return query.name, behavior.name
    return None


def _real(raw: Raw, group: str) -> np.ndarray:
    """Which of the group's positions are real, `[B, T]` or `[B, N]`."""
    return np.arange(raw[f"{group}_item_id"].shape[1]) < raw[f"{group}_count"][:, np.newaxis]
