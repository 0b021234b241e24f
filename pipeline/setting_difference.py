"""Names what differs between two sets of settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def setting_difference(
    made: Mapping[str, Any], wanted: Mapping[str, Any], counts: Callable[[str], bool] = lambda key: True
) -> str:
    """The first key in which nested settings differ, for an error; empty where none does.

    Args:
        made: the settings that something was made with.
        wanted: those of the scenario that was given.
        counts: whether a key, as `key.path`, has a say.
    """
    old, new = _flat("", made), _flat("", wanted)
    for key in sorted(filter(counts, old.keys() | new.keys())):
        if old.get(key) != new.get(key):
            return f"`{key}: {old.get(key)}` and the scenario says `{new.get(key)}`"
    return ""


def _flat(prefix: str, node: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, child in node.items():
        flat |= _flat(f"{prefix}{name}.", child) if isinstance(child, Mapping) else {f"{prefix}{name}": child}
    return flat
