"""A small random search log, a scenario for it, and an obvious reference of what its records hold."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.config import Scenario
from pipeline.scenario_file import parse_scenario

Table = list[dict[str, Any]]
DAY = 86_400
START = 1_700_000_000


def small_scenario(**pipeline: Any) -> Scenario:
    """Every kind of feature; `pipeline` overrides keys of that section."""
    raw = {
        "name": "small",
        "features": {
            "tables": {"item": {}, "brand": {"min_count": 2}, "tag": {}, "term": {}, "age": {}, "action": {}},
            "item": {
                "item_id": {"kind": "categorical", "table": "item"},
                "maker": {"kind": "categorical", "table": "brand", "column": "brand"},
                "tags": {"kind": "multi_categorical", "table": "tag", "separator": "|"},
                "price": {"kind": "numeric", "log": True, "buckets": 3},
                "rating": {"kind": "numeric", "optional": True},
            },
            "behavior": {
                "action": {"kind": "categorical", "table": "action"},
                "age_days": {"kind": "numeric", "log": True},
            },
            "query": {"terms": {"kind": "multi_categorical", "table": "term", "column": "query"}},
            "user": {"age_group": {"kind": "categorical", "table": "age"}},
            "as_of": {
                "sales": {"entity": "item_id", "measure": "count", "action": "purchase"},
                "maker_clicks_2d": {"entity": "maker", "measure": "count", "action": "click", "window_days": 2},
                "item_age": {"entity": "item_id", "measure": "age_days"},
                "with": {"entity": "item_id", "measure": "bought_with"},
                "activity": {"entity": "user", "measure": "count"},
            },
        },
        "pipeline": {
            "behaviors": {"click_days": 4, "purchase_days": 9, "max_behaviors": 5},
            "split": {"train": 0.6, "validation": 0.2},
            "shards": 3,
            **pipeline,
        },
    }
    return parse_scenario(raw, "small")


def small_log(
    seed: int = 0, users: int = 12, items: int = 15, sessions: int = 60, events: int = 250
) -> dict[str, Table]:
    """Random tables; times are full hours over 20 days, so equal times and window edges occur."""
    draw = np.random.default_rng(seed)

    def time(days: int = 20) -> int:
        return START + 3600 * int(draw.integers(0, 24 * days))

    def shown() -> Table:
        chosen = draw.choice(items, size=int(draw.integers(1, min(items, 6) + 1)), replace=False)
        return [{"item_id": f"i{i}", "clicked": True, "purchased": bool(draw.random() < 0.3)} for i in chosen]

    return {
        "items": [
            {
                "item_id": f"i{i}",
                "title": f"Item {i}",
                "brand": f"b{i % 4}" if i % 5 else "",
                "tags": [f"t{i % 2}", f"t{i % 3}"],
                "price": i / 4,
                **({"rating": 1.5 * i} if i % 2 else {}),
            }
            for i in range(items)
        ],
        # the last user has neither profile nor events
        "users": [{"user_id": f"u{u}", "age_group": f"a{u % 2}"} for u in range(users - 1)],
        "events": [
            {
                "user_id": f"u{draw.integers(0, users - 1)}",
                "item_id": f"i{draw.integers(0, items)}",
                "action": str(draw.choice(["click", "purchase"])),
                "time": time(),
            }
            for _ in range(events)
        ],
        "sessions": [
            {
                "session_id": f"s{s}",
                "user_id": f"u{draw.integers(0, users)}",
                "time": time(),
                "query": f"q{s % 3} word",
                "candidates": shown(),
            }
            for s in range(sessions)
        ],
    }


def write_log(directory: Path, log: dict[str, Table]) -> Path:
    """Writes the tables as JSON Lines."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, rows in log.items():
        (directory / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return directory


def expected_records(log: dict[str, Table]) -> dict[str, dict[str, Any]]:
    """What each session's record holds by the letter of the documentation, for `small_scenario`.

    Candidates are a mapping from item to its values, as their order is a hash's.
    """
    items = {row["item_id"]: row for row in log["items"]}
    ages = {row["user_id"]: row["age_group"] for row in log["users"]}
    events = [(e["user_id"], e["item_id"], e["action"], e["time"]) for e in log["events"]]
    pairs = _pairs([event for event in events if event[2] == "purchase"])
    row_of = {item: row for row, item in enumerate(sorted(items))}
    records = {}
    for session in log["sessions"]:
        user, now = session["user_id"], session["time"]
        before = [event for event in events if event[3] < now]
        window = {"click": 4 * DAY, "purchase": 9 * DAY}
        behaviors = [e for e in before if e[0] == user and e[3] >= now - window[e[2]]]
        behaviors.sort(key=lambda e: (-e[3], e[2] != "purchase", row_of[e[1]]))
        behaviors = behaviors[:5]
        bought = {item for _, item, _, _ in behaviors}

        def candidate(
            item: str, shown: dict[str, Any], before: list[Any], bought: set[str], now: int
        ) -> dict[str, Any]:
            brand = items[item]["brand"]
            own = [e for e in before if e[1] == item]
            return {
                **_item(items[item]),
                "label": float(shown["purchased"]),
                "sales": sum(e[2] == "purchase" for e in own),
                "maker_clicks_2d": sum(
                    e[2] == "click" and e[3] >= now - 2 * DAY and items[e[1]]["brand"] == brand != "" for e in before
                ),
                "item_age": (now - min(e[3] for e in own)) / DAY if own else math.nan,
                "with": sum(time < now and pair == {item, b} for pair, time in pairs for b in bought),
            }

        records[session["session_id"]] = {
            "user_id": user,
            "time": now,
            "terms": session["query"],
            "age_group": ages.get(user, ""),
            "activity": sum(e[0] == user for e in before),
            "behaviors": [
                {**_item(items[item]), "action": action, "age_days": (now - time) / DAY}
                for _, item, action, time in behaviors
            ],
            "candidates": {
                shown["item_id"]: candidate(shown["item_id"], shown, before, bought, now)
                for shown in session["candidates"]
            },
        }
    return records


def _item(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "item_id": row["item_id"],
        "maker": row["brand"],
        "tags": "|".join(row["tags"]),
        "price": row["price"],
        "rating": row.get("rating", math.nan),
    }


def _pairs(purchases: list[Any]) -> list[tuple[set[str], int]]:
    """Pair events; no user of the small log has more than 20 purchases before one."""
    pairs = []
    rows = sorted({item for _, item, _, _ in purchases})
    ordered = sorted(purchases, key=lambda e: (e[3], rows.index(e[1])))
    for place, (user, item, _, time) in enumerate(ordered):
        latest = {other: when for u, other, _, when in ordered[:place] if u == user and other != item}
        pairs += [({item, other}, time) for other, when in latest.items() if when >= time - 9 * DAY]
    return pairs
