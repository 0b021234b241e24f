"""Makes a raw log as uneven as real ones: one very heavy user, one item on every page, one query of half the traffic.

    python -m benchmarks.skewed_log --input data/log --output data/skewed

It reads and writes Parquet, a file at a time, so memory does not grow with the log.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

HEAVY_USER = "u-heavy"
_SESSIONS, _CANDIDATES = 100, 10
_LATE = 0.8  # of the sessions' period has gone by when the heavy user's own sessions begin
_TABLES = ("items", "users", "events", "sessions")


def skew(input_directory: Path, output_directory: Path, *, heavy_events: int = 100_000, seed: int = 0) -> None:
    """Writes a skewed copy of a raw log in Parquet, as `pipeline.simulate` writes it (without the truth).

    - The user `HEAVY_USER` is new: `heavy_events` events, a fifth of them purchases, at any time of
      the log, and 100 sessions in the last fifth of the sessions' period.
    - One item is a candidate of every session; where it was none, it is neither clicked nor bought.
    - Half of the sessions ask the first session's query.

    All other rows stay as they are. The same arguments write the same log.

    Args:
        input_directory: the raw log.
        output_directory: a directory that is not there yet.
        heavy_events: how many events the heavy user has.
        seed: of every random draw.
    """
    files = {table: sorted(input_directory.glob(f"{table}*.parquet")) for table in _TABLES}
    rng = np.random.default_rng(seed)
    item_ids = pa.concat_arrays([chunk for path in files["items"] for chunk in _column(path, "item_id").chunks])
    hot_item = item_ids[int(rng.integers(len(item_ids)))].as_py()
    first_session = next(pq.ParquetFile(files["sessions"][0]).iter_batches(batch_size=1)).to_pylist()[0]
    hot_query = {name: first_session[name] for name in first_session if name.startswith("query")}

    output_directory.mkdir(parents=True)
    for path in [path for table in _TABLES for path in files[table]]:
        table = pq.read_table(path)
        if path in files["sessions"]:
            table = _with_hot_query(_with_hot_item(table, hot_item), hot_query, rng)
        pq.write_table(table, output_directory / path.name)

    begin, end = _period(files["events"])
    heavy = {
        "users": _heavy_user(pq.read_table(files["users"][0])),
        "events": _heavy_events(item_ids, begin, end, heavy_events, rng),
        "sessions": _heavy_sessions(first_session, item_ids, hot_item, _period(files["sessions"]), rng),
    }
    for name, rows in heavy.items():
        schema = pq.read_schema(files[name][0])
        pq.write_table(rows.select(schema.names).cast(schema), output_directory / f"{name}-heavy.parquet")


def _column(path: Path, name: str) -> pa.ChunkedArray:
    return pq.read_table(path, columns=[name]).column(0)


def _period(files: Iterable[Path]) -> tuple[int, int]:
    """The earliest and the latest time of a table."""
    ends = [pc.min_max(_column(path, "time")) for path in files]
    return min(each["min"].as_py() for each in ends), max(each["max"].as_py() for each in ends)


def _with_hot_item(sessions: pa.Table, item: str) -> pa.Table:
    """The item is the last candidate of each session that does not show it anyway."""
    column = sessions.column("candidates").combine_chunks()
    lengths = pc.list_value_length(column).to_numpy(zero_copy_only=False)
    shown = column.flatten()
    owner = np.repeat(np.arange(len(lengths)), lengths)
    has_it = np.zeros(len(lengths), bool)
    has_it[owner[pc.equal(pc.struct_field(shown, "item_id"), item).to_numpy(zero_copy_only=False)]] = True
    lacks_it = np.flatnonzero(~has_it)
    hot = pa.array([{"item_id": item, "clicked": False, "purchased": False}], shown.type)
    values = pa.concat_arrays([shown, hot.take(pa.array(np.zeros(len(lacks_it), np.int64)))])
    order = np.argsort(np.concatenate([owner, lacks_it]), kind="stable")
    offsets = np.concatenate([[0], np.cumsum(lengths + ~has_it)])
    candidates = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values.take(pa.array(order)))
    return sessions.set_column(sessions.schema.get_field_index("candidates"), "candidates", candidates)


def _with_hot_query(sessions: pa.Table, query: dict[str, Any], rng: np.random.Generator) -> pa.Table:
    """Half of the sessions have the query's values."""
    asks = pa.array(rng.random(sessions.num_rows) < 0.5)
    for name, value in query.items():
        column = pc.if_else(asks, pa.scalar(value, sessions.schema.field(name).type), sessions.column(name))
        sessions = sessions.set_column(sessions.schema.get_field_index(name), name, column)
    return sessions


def _heavy_user(users: pa.Table) -> pa.Table:
    """The first user's profile under the heavy user's name."""
    return pa.Table.from_pylist([{**users.slice(0, 1).to_pylist()[0], "user_id": HEAVY_USER}])


def _heavy_events(item_ids: pa.Array, begin: int, end: int, events: int, rng: np.random.Generator) -> pa.Table:
    purchase = rng.permutation(events) < events // 5
    return pa.table(
        {
            "user_id": pa.array([HEAVY_USER] * events),
            "item_id": item_ids.take(pa.array(rng.integers(len(item_ids), size=events))),
            "action": pa.array(np.where(purchase, "purchase", "click")),
            "time": pa.array(np.sort(rng.integers(begin, end, size=events, endpoint=True))),
        }
    )


def _heavy_sessions(
    like: dict[str, Any], item_ids: pa.Array, hot_item: str, period: tuple[int, int], rng: np.random.Generator
) -> pa.Table:
    """Sessions with the query of another one; the first candidate is clicked and bought, the last is the hot item."""
    begin, end = period
    rows = []
    for number, time in enumerate(np.linspace(begin + _LATE * (end - begin), end, _SESSIONS).astype(int).tolist()):
        chosen = item_ids.take(pa.array(rng.choice(len(item_ids), size=_CANDIDATES, replace=False))).to_pylist()
        shown = [*(item for item in chosen if item != hot_item), hot_item]
        candidates = [
            {"item_id": item, "clicked": place == 0, "purchased": place == 0} for place, item in enumerate(shown)
        ]
        rows.append(
            {
                **like,
                "session_id": f"{HEAVY_USER}-s{number:03d}",
                "user_id": HEAVY_USER,
                "time": time,
                "candidates": candidates,
            }
        )
    return pa.Table.from_pylist(rows)


def main() -> None:
    """Writes a skewed log from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", type=Path, required=True, help="raw log in Parquet")
    parser.add_argument("--output", type=Path, required=True, help="directory to make")
    parser.add_argument("--heavy-events", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    skew(arguments.input, arguments.output, heavy_events=arguments.heavy_events, seed=arguments.seed)


if __name__ == "__main__":
    main()
