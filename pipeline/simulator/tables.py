"""A simulated chunk of users as Arrow tables in the raw layout of `docs/raw-log.md`."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from pipeline.simulator.users import AGE_GROUPS, Users
from pipeline.simulator.visits import Visits
from pipeline.simulator.world import CATEGORIES, Ints, World, query_texts

_TRUTH: dict[str, pa.DataType] = {"session_id": pa.string(), "item_id": pa.string(), "probability": pa.float64()}
TRUTH_SCHEMA = pa.schema(_TRUTH)


def items_table(world: World) -> pa.Table:
    """Every item; `listed`, when it came on sale, is beyond what the layout asks for."""
    names = [name for name, _, _ in CATEGORIES]
    return pa.table(
        {
            "item_id": _ids("i", np.arange(len(world.title))),
            "title": pa.array(world.title, pa.string()),
            "brand": _names(world.brand_names, world.brand),
            "shop": _names(world.shop_names, world.shop),
            "category": _names(names, world.category),
            "price": pa.array(world.price, pa.float64()),
            "listed": pa.array(world.listed, pa.int64()),
        }
    )


def users_table(users: Users) -> pa.Table:
    """Every user of the chunk, by number."""
    order = np.argsort(users.number)
    return pa.table(
        {
            "user_id": _ids("u", users.number[order]),
            "age_group": _names(AGE_GROUPS, users.age_group[order]),
        }
    )


def events_table(users: Users, visits: Visits) -> pa.Table:
    """Clicks and purchases of all visits, logged or earlier, by time."""
    parts = []
    for action, times in enumerate((visits.click_time, visits.purchase_time)):
        visit, column = np.nonzero(times)
        parts.append(
            (
                times[visit, column],
                users.number[visits.user[visit]],
                visits.candidates[visit, column],
                np.full(len(visit), action),
            )
        )
    time, user, item, action_number = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.lexsort((item, user, time))
    return pa.table(
        {
            "user_id": _ids("u", user[order]),
            "item_id": _ids("i", item[order]),
            "action": _names(("click", "purchase"), action_number[order]),
            "time": pa.array(time[order], pa.int64()),
        }
    )


def session_tables(users: Users, visits: Visits, rows: Ints) -> tuple[pa.Table, pa.Table]:
    """Sessions, and the truth of their candidates, of the visits at `rows`."""
    user_number = users.number[visits.user[rows]]
    session_id = [f"u{u:06d}-s{v:03d}" for u, v in zip(user_number.tolist(), visits.visit[rows].tolist(), strict=True)]
    shown = visits.candidates[rows] >= 0
    item_id = _ids("i", visits.candidates[rows][shown])
    candidates = pa.StructArray.from_arrays(
        [item_id, pa.array(visits.click_time[rows][shown] > 0), pa.array(visits.purchase_time[rows][shown] > 0)],
        names=["item_id", "clicked", "purchased"],
    )
    counts = shown.sum(axis=1)
    offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]), pa.int32())
    sessions = pa.table(
        {
            "session_id": pa.array(session_id, pa.string()),
            "user_id": _ids("u", user_number),
            "time": pa.array(visits.time[rows], pa.int64()),
            "query": _names(query_texts(), visits.query[rows]),
            "query_category": _names([name for name, _, _ in CATEGORIES], visits.category[rows]),
            "candidates": pa.ListArray.from_arrays(offsets, candidates),
        }
    )
    truth = pa.table(
        [
            _names(session_id, np.repeat(np.arange(len(rows)), counts)),
            item_id,
            pa.array(visits.probability[rows][shown], pa.float64()),
        ],
        schema=TRUTH_SCHEMA,
    )
    return sessions, truth


def _ids(letter: str, numbers: Ints) -> pa.StringArray:
    """Ids such as `u000042`."""
    return pa.array([f"{letter}{number:06d}" for number in numbers.tolist()], pa.string())


def _names(names: list[str] | tuple[str, ...], numbers: Ints) -> pa.StringArray:
    return pa.array(names, pa.string()).take(pa.array(numbers, pa.int64()))
