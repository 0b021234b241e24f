"""A skewed log is the given one with one heavy user, one item everywhere and one query of half the traffic."""

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.skewed_log import HEAVY_USER, skew
from pipeline.simulate import simulate

Row = dict[str, Any]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("skewed")
    simulate(directory / "plain", users=200, items=400, days=20, seed=2)
    skew(directory / "plain", directory / "skewed", heavy_events=5_000, seed=3)
    return directory


def read(directory: Path, table: str) -> list[Row]:
    rows: list[Row] = pa.concat_tables(
        [pq.read_table(path) for path in sorted(directory.glob(f"{table}*.parquet"))]
    ).to_pylist()
    return rows


def test_one_user_has_very_many_events_and_some_late_sessions(directory: Path) -> None:
    plain, skewed = directory / "plain", directory / "skewed"
    assert read(skewed, "items") == read(plain, "items")
    assert [row["user_id"] for row in read(skewed, "users")] == [
        *(row["user_id"] for row in read(plain, "users")),
        HEAVY_USER,
    ]
    events = read(skewed, "events")
    assert [row for row in events if row["user_id"] != HEAVY_USER] == read(plain, "events")
    heavy = [row for row in events if row["user_id"] == HEAVY_USER]
    assert Counter(row["action"] for row in heavy) == {"click": 4_000, "purchase": 1_000}
    times = [row["time"] for row in read(plain, "sessions")]
    assert max(row["time"] for row in heavy) - min(row["time"] for row in heavy) > 300 * 86_400
    own = [row["time"] for row in read(skewed, "sessions") if row["user_id"] == HEAVY_USER]
    assert len(own) == 100
    assert min(times) + 0.8 * (max(times) - min(times)) <= min(own) < max(own) <= max(times)


def test_one_item_is_in_every_session_once(directory: Path) -> None:
    sessions = read(directory / "skewed", "sessions")
    shown = [[candidate["item_id"] for candidate in row["candidates"]] for row in sessions]
    (hot,) = set.intersection(*map(set, shown))
    assert all(items.count(hot) == 1 for items in shown)
    before = {row["session_id"]: row["candidates"] for row in read(directory / "plain", "sessions")}
    added = {"item_id": hot, "clicked": False, "purchased": False}
    for row in sessions:
        if row["user_id"] != HEAVY_USER:
            given = before[row["session_id"]]
            has_it = any(candidate["item_id"] == hot for candidate in given)
            assert row["candidates"] == (given if has_it else [*given, added])


def test_one_query_has_half_of_the_sessions(directory: Path) -> None:
    plain = {row["session_id"]: row for row in read(directory / "plain", "sessions")}
    sessions = read(directory / "skewed", "sessions")
    (query, count), (_, second) = Counter(row["query"] for row in sessions).most_common(2)
    assert 0.45 < count / len(sessions) < 0.6
    assert second < 0.1 * len(sessions)
    changed = [row for row in sessions if row["query"] == query]
    assert len({row["query_category"] for row in changed}) == 1
    for row in sessions:
        if row["query"] != query:
            assert row["query"] == plain[row["session_id"]]["query"]


def test_the_same_arguments_write_the_same_log(directory: Path) -> None:
    skew(directory / "plain", directory / "again", heavy_events=5_000, seed=3)
    skew(directory / "plain", directory / "other", heavy_events=5_000, seed=4)
    for path in (directory / "skewed").iterdir():
        assert path.read_bytes() == (directory / "again" / path.name).read_bytes()
    assert read(directory / "other", "events") != read(directory / "skewed", "events")
