"""Writes a simulated search log: `docs/raw-log.md` describes the layout.

Users come in chunks with a random generator of their own, and each chunk is one file of
users, events and sessions, so memory stays bounded whatever the number of users.

Read on in this order: `simulator/world.py` (items, queries), `simulator/users.py` (tastes,
times), `simulator/choice.py` (what makes a user buy), `simulator/visits.py` (the walk).
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import InputError
from pipeline.simulator.tables import TRUTH_SCHEMA, events_table, items_table, session_tables, users_table
from pipeline.simulator.users import draw_users, is_logged
from pipeline.simulator.visits import simulate_visits
from pipeline.simulator.world import CATEGORIES, World, build_world

FileFormat = Literal["jsonl", "jsonl.gz", "parquet"]
#: The true purchase probability of every shown candidate; the pipeline never reads it.
TRUTH = "truth.parquet"
FEWEST_ITEMS = 20 * len(CATEGORIES)
_CHUNK_USERS = 5_000
_ROWS_AT_ONCE = 10_000


@dataclass(frozen=True)
class SimulationSummary:
    """Counts of what `simulate` wrote; `purchases` are those of the logged sessions."""

    users: int
    items: int
    events: int
    sessions: int
    purchases: int
    users_without_events: int
    sessions_without_purchase: int

    def __str__(self) -> str:
        return (
            f"{self.users:,} users ({self.share_of_users_without_events:.1%} without events), {self.items:,} items, "
            f"{self.events:,} events, {self.sessions:,} sessions with {self.purchases_per_session:.2f} purchases each "
            f"({self.share_of_sessions_without_purchase:.0%} without one)"
        )

    @property
    def share_of_users_without_events(self) -> float:
        """Between 0 and 1."""
        return self.users_without_events / self.users

    @property
    def purchases_per_session(self) -> float:
        """Mean over the sessions."""
        return self.purchases / self.sessions

    @property
    def share_of_sessions_without_purchase(self) -> float:
        """Between 0 and 1."""
        return self.sessions_without_purchase / self.sessions


def simulate(
    output: Path,
    *,
    users: int = 20_000,
    items: int = 4_000,
    days: int = 60,
    seed: int = 7,
    file_format: FileFormat = "parquet",
    progress: Callable[[int, int], None] | None = None,
) -> SimulationSummary:
    """Simulates a search log and writes it as a raw-log directory.

    The same arguments give the same bytes. The directory appears only when it is complete.

    Args:
        output: a directory that is new or empty.
        users: how many users; each has at least one logged session.
        items: how many items, over 20 categories.
        days: length of the logged sessions; events reach one year further back.
        seed: of every random draw.
        file_format: of the four tables; the truth is always Parquet.
        progress: called with users done and users in all.

    Raises:
        InputError: an argument is out of its range, or `output` holds something.

    Example:
        simulate(Path("log"), users=1_000, file_format="jsonl.gz").purchases_per_session
    """
    output = output.resolve()
    _check(output, users, items, days, seed, file_format)
    chunks = -(-users // _CHUNK_USERS)
    # Spawned seeds depend on their place only: a chunk is the same however many follow it.
    world_seed, *chunk_seeds = np.random.SeedSequence(seed).spawn(1 + chunks)
    world = build_world(items, days, np.random.default_rng(world_seed))
    counts: Counter[str] = Counter()

    with _unfinished(output) as unfinished:
        directory = Path(unfinished) / output.name
        directory.mkdir()
        _write(items_table(world), directory / f"items.{file_format}")
        with pq.ParquetWriter(directory / TRUTH, TRUTH_SCHEMA) as truth:
            for chunk, chunk_seed in enumerate(chunk_seeds):
                first = chunk * _CHUNK_USERS
                count = min(_CHUNK_USERS, users - first)
                tables, chunk_counts = _simulate_chunk(world, first, count, days, np.random.default_rng(chunk_seed))
                truth.write_table(tables.pop("truth"))
                for name, table in tables.items():
                    _write(table, directory / f"{name}-{chunk:05d}-of-{chunks:05d}.{file_format}")
                counts.update(chunk_counts)
                if progress is not None:
                    progress(first + count, users)
        directory.replace(output)
    return SimulationSummary(users=users, items=items, **counts)


def _check(output: Path, users: int, items: int, days: int, seed: int, file_format: str) -> None:
    least = {"users": (users, 1), "items": (items, FEWEST_ITEMS), "days": (days, 1), "seed": (seed, 0)}
    for name, (value, allowed) in least.items():
        if value < allowed:
            raise InputError(f"{name}: must be {allowed} or more, not {value}")
    if file_format not in get_args(FileFormat):
        raise InputError(f"file format: must be one of {', '.join(get_args(FileFormat))}, not {file_format!r}")
    if Path.cwd().is_relative_to(output):
        raise InputError(f"{output}: is the directory you are in or above it; give a directory of its own")
    if output.exists() and not output.is_dir():
        raise InputError(f"{output}: is a file; give a directory that is new or empty")
    if output.exists() and any(output.iterdir()):
        raise InputError(f"{output}: is not empty; give a directory that is new or empty")


def _unfinished(output: Path) -> tempfile.TemporaryDirectory[str]:
    """A directory beside the output, to work in."""
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent)
    except OSError as error:
        raise InputError(
            f"{output}: cannot be made ({error.filename}: {error.strerror}); give another directory"
        ) from None


def _simulate_chunk(
    world: World, first: int, count: int, days: int, rng: np.random.Generator
) -> tuple[dict[str, pa.Table], dict[str, int]]:
    """The tables of the users numbered from `first`, and their counts for the summary."""
    users = draw_users(first, count, days, rng)
    visits = simulate_visits(world, users, rng)
    logged = np.flatnonzero(is_logged(visits.time))
    logged = logged[np.lexsort((users.number[visits.user[logged]], visits.time[logged]))]
    sessions, truth = session_tables(users, visits, logged)
    events = events_table(users, visits)

    bought = visits.purchase_time[logged] > 0
    with_events = np.unique(visits.user[(visits.click_time > 0).any(axis=1)])
    return {"users": users_table(users), "events": events, "sessions": sessions, "truth": truth}, {
        "events": events.num_rows,
        "sessions": sessions.num_rows,
        "purchases": int(bought.sum()),
        "users_without_events": count - len(with_events),
        "sessions_without_purchase": int((~bought.any(axis=1)).sum()),
    }


def _write(table: pa.Table, path: Path) -> None:
    """Writes a table in the format that the name ends with; Arrow compresses what ends with `.gz`."""
    if path.suffix == ".parquet":
        pq.write_table(table, path)
        return
    with pa.output_stream(str(path)) as stream:
        for batch in table.to_batches(max_chunksize=_ROWS_AT_ONCE):
            lines = (json.dumps(row, ensure_ascii=False) for row in batch.to_pylist())
            stream.write("".join(f"{line}\n" for line in lines).encode())
