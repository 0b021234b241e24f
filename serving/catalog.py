"""The pipeline's `serving/` tables: completes ids into the values that a request needs.

A deployment with its own item store fills the same fields itself; `serving/request.py`
says which. Numbers are as of the log's end.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.compute as pc
from scipy import sparse

from pipeline.config import Behaviors, Scenario
from pipeline.features import BEHAVIOR_FIELDS, USER_ENTITY, AsOf, Features, Numeric
from pipeline.user_history import ACTIONS
from serving.errors import RequestError
from serving.keyed_table import KeyedTable, read_columns
from serving.request import Session

_REQUEST_KEYS = ("user_id", "user", "query", "behaviors", "candidates")


class _Behavior(NamedTuple):
    """A behaviour that was checked: its item's fields, and what `features.behavior` may declare."""

    item: dict[str, Any]
    action: str
    age_days: float | np.number


@dataclass(frozen=True)
class Catalog:
    """Items, as-of numbers and co-purchases of a prepared directory.

    Example:
        catalog = Catalog.open(PreparedData.open("data/prepared").serving, scenario)
        session, candidates = catalog.complete({
            "user_id": "u1", "user": {"age_group": "20-29"}, "query": {"terms": "red shoe"},
            "behaviors": [{"item_id": "i3", "action": "click", "age_days": 0.5}],
            "candidates": ["i1", "i2"],
        })
    """

    features: Features
    _limits: Behaviors
    _items: KeyedTable
    _as_of: dict[str, KeyedTable]
    _co_purchases: sparse.csr_array | None

    @classmethod
    def open(cls, directory: str | Path, scenario: Scenario) -> Catalog:
        """Reads the tables that the scenario's features need.

        Args:
            directory: of the serving tables, see `PreparedData.serving`.
            scenario: whose features they are.

        Raises:
            InputError: a table or a column is not there.
        """
        features = scenario.features
        directory = Path(directory)
        items = KeyedTable.read(directory / "items.parquet", "item_id", ["title", *features.item])
        columns: dict[str, list[str]] = {}
        for name, as_of in features.as_of.items():
            if as_of.measure != "bought_with":
                columns.setdefault(as_of.entity, []).append(name)
        tables = {
            entity: KeyedTable.read(
                directory / f"as_of_{entity}.parquet", "user_id" if entity == USER_ENTITY else entity, names
            )
            for entity, names in columns.items()
        }
        bought_with = any(as_of.measure == "bought_with" for as_of in features.as_of.values())
        co_purchases = _read_co_purchases(directory / "co_purchases.parquet", items) if bought_with else None
        return cls(features, scenario.pipeline.behaviors, items, tables, co_purchases)

    def complete(self, request: Mapping[str, Any]) -> tuple[Session, list[dict[str, Any]]]:
        """A session request of ids to what `SessionRanker` takes.

        Behaviours are kept as in training: those in the windows of `pipeline.behaviors`, newest
        first, at most `max_behaviors`.

        Args:
            request: `candidates`, a list of item ids, or of mappings with `item_id` and the fields
                that `features.impression` declares, which only the session knows; and optionally
                `behaviors` (`item_id`, `action`, `age_days` each), `query` and `user` (fields as declared) and
                `user_id`, which only serves to look up the user's as-of numbers. A user or item
                without events counts 0 and has no age. Where the scenario does not declare
                `action`, one that is missing is a purchase.

        Returns:
            The session, and the candidates in the order given.

        Raises:
            RequestError: an unknown item, key or action, an impression's number that is missing, an
                impossible age, or a key of the wrong type.
        """
        _check_request(request)
        behaviors = self._behaviors(request.get("behaviors", []))
        candidates = [self._candidate(index, given) for index, given in enumerate(request["candidates"])]
        ids = [candidate["item_id"] for candidate in candidates]
        together = self._bought_with([behavior["item_id"] for behavior in behaviors], ids)
        for name, as_of in self.features.as_of.items():
            for index, candidate in enumerate(candidates):
                if as_of.measure == "bought_with":
                    candidate[name] = float(together[index])
                elif as_of.entity != USER_ENTITY:
                    candidate[name] = self._number(name, as_of, candidate[as_of.entity])
        user = {
            name: self._number(name, as_of, request.get("user_id"))
            for name, as_of in self.features.as_of.items()
            if as_of.entity == USER_ENTITY
        }
        session = Session(behaviors, request.get("query", {}), {**user, **request.get("user", {})})
        return session, candidates

    def item(self, item_id: Any) -> dict[str, Any]:
        """An item's declared fields.

        Raises:
            RequestError: no such item.
        """
        if not isinstance(item_id, str) or item_id not in self._items.rows:
            raise RequestError(f"unknown item {item_id!r}; the catalog has {len(self._items.rows):,} items")
        return {field: self._items.get(item_id, field) for field in self.features.item}

    def title(self, item_id: str) -> str:
        """An item's title, or its id where it has none."""
        return self._items.get(item_id, "title") or item_id

    def _candidate(self, index: int, given: Any) -> dict[str, Any]:
        """The item's fields, and those of its impression as given."""
        shown = given if isinstance(given, Mapping) else {"item_id": given}
        if unknown := sorted(set(shown) - {"item_id", *self.features.impression}):
            allowed = ", ".join(("item_id", *self.features.impression))
            raise RequestError(f"candidate {index}: unknown key `{unknown[0]}`; allowed are {allowed}")
        item = self.item(shown.get("item_id"))
        for field, declaration in self.features.impression.items():
            if isinstance(declaration, Numeric) and not declaration.optional and shown.get(field) is None:
                form = ", ".join(f'"{key}": ...' for key in ("item_id", *self.features.impression))
                raise RequestError(
                    f"candidate {index}: lacks `{field}`, which only the session knows; give {{{form}}} for each"
                )
        return item | {field: shown.get(field) for field in self.features.impression}

    def _behaviors(self, requested: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Those that the pipeline would keep, in its order (see `UserHistory`), with their items' fields."""
        days = {"click": self._limits.click_days, "purchase": self._limits.purchase_days}
        behaviors = [self._behavior(index, behavior) for index, behavior in enumerate(requested)]
        kept = [behavior for behavior in behaviors if behavior.age_days <= days[behavior.action]]
        kept.sort(key=lambda b: (b.age_days, b.action != "purchase", self._items.rows[b.item["item_id"]]))
        return [
            {**behavior.item, **{field: getattr(behavior, field) for field in self.features.behavior}}
            for behavior in kept[: self._limits.max_behaviors]
        ]

    def _behavior(self, index: int, behavior: Mapping[str, Any]) -> _Behavior:
        if unknown := sorted(set(behavior) - {"item_id", *BEHAVIOR_FIELDS}):
            allowed = ", ".join(("item_id", *BEHAVIOR_FIELDS))
            raise RequestError(f"behaviors: unknown key `{unknown[0]}`; allowed are {allowed}")
        action, age = behavior.get("action"), behavior.get("age_days")
        if action is None and "action" not in self.features.behavior:
            action = "purchase"
        if action not in ACTIONS:
            raise RequestError(f"behavior {index}: `action` must be {' or '.join(ACTIONS)}, not {action!r}")
        if not isinstance(age, int | float | np.number) or isinstance(age, bool) or not 0 <= age < math.inf:
            raise RequestError(f"behavior {index}: `age_days` must be a number of days, 0 or more, not {age!r}")
        return _Behavior(self.item(behavior.get("item_id")), action, age)

    def _number(self, name: str, as_of: AsOf, key: str | None) -> float:
        never_seen = math.nan if as_of.measure == "age_days" else 0.0
        return float(self._as_of[as_of.entity].get(key, name, never_seen))

    def _bought_with(self, behavior_ids: Sequence[str], candidate_ids: Sequence[str]) -> np.ndarray:
        """Of each candidate c, over the distinct behaviour items b other than c, the sum of count(c, b)."""
        if self._co_purchases is None or not behavior_ids:
            return np.zeros(len(candidate_ids))
        rows = self._items.rows
        behaviors = sorted({rows[item_id] for item_id in behavior_ids})
        candidates = [rows[item_id] for item_id in candidate_ids]
        return self._co_purchases[candidates][:, behaviors].sum(axis=1)


def _read_co_purchases(path: Path, items: KeyedTable) -> sparse.csr_array:
    """Counts by rows of `items`, `[item, other item]`, nothing on the diagonal."""
    table = read_columns(path, ["item_id", "other_item_id", "count"])
    ids = items.columns["item_id"]
    row, column = (
        pc.index_in(table[name], value_set=ids).fill_null(-1).to_numpy() for name in ("item_id", "other_item_id")
    )
    kept = (row >= 0) & (column >= 0) & (row != column)
    count = table["count"].to_numpy()
    row, column, count = row[kept], column[kept], count[kept]
    return sparse.csr_array((count, (row, column)), shape=(len(ids), len(ids)))


def _check_request(request: Mapping[str, Any]) -> None:
    if not isinstance(request, Mapping):
        raise RequestError(f"a session request is a mapping with `candidates`, not {type(request).__name__}")
    if unknown := sorted(set(request) - set(_REQUEST_KEYS)):
        raise RequestError(f"unknown key `{unknown[0]}`; a session request has {', '.join(_REQUEST_KEYS)}")
    if not isinstance(request.get("candidates"), list) or not request["candidates"]:
        raise RequestError("`candidates` must be a list of item ids or of mappings, at least one")
    behaviors = request.get("behaviors", [])
    if not isinstance(behaviors, list) or not all(isinstance(behavior, Mapping) for behavior in behaviors):
        raise RequestError("`behaviors` must be a list of mappings with item_id, action and age_days")
    if not isinstance(request.get("user_id"), str | None):
        raise RequestError(f"`user_id` must be a string, not {request['user_id']!r}")
    for key in ("query", "user"):
        if not isinstance(request.get(key, {}), Mapping):
            raise RequestError(f"`{key}` must be a mapping of fields to values, not {request[key]!r}")
