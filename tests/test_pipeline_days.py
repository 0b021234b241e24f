"""Runs over some days: a day is added or redone, and the others stay as they were."""

import datetime
from pathlib import Path
from typing import Any

import pytest
from prepared_records import comparable_records
from small_log import DAY, START, Table, small_log, small_scenario, write_log

from pipeline.config import Scenario
from pipeline.data_statistics import STATISTICS_FILE
from pipeline.days import DateRange, day_name
from pipeline.encoding_assets import STATISTICS
from pipeline.errors import InputError
from pipeline.prepared_data import PARTS, PreparedData
from pipeline.run import preprocess
from pipeline.scenario_file import load_scenario

LOG = small_log()
FIRST = START // DAY
TEST_START = FIRST + 15


def scenario(test_start: int = TEST_START, **pipeline: Any) -> Scenario:
    """Training up to two days before the test part, which begins on a fixed day."""
    days = {"validation_start": day_name(test_start - 2), "test_start": day_name(test_start)}
    return small_scenario(split=days, **pipeline)


def run(log: Path, output: Path, days: DateRange | None, made: Scenario | None = None, **options: Any) -> PreparedData:
    preprocess(made or scenario(), str(log), str(output), days=days, **options)
    return PreparedData.open(output)


def assert_equal_data(one: PreparedData, other: PreparedData) -> None:
    features = load_scenario(one.scenario_path).features
    assert comparable_records(one, features) == comparable_records(other, features)
    for name in (STATISTICS, STATISTICS_FILE):
        assert (one.latest / name).read_bytes() == (other.latest / name).read_bytes(), name
    assert one.assets(features).numeric == other.assets(features).numeric
    for table in features.tables:
        assert one.assets(features).vocabulary(table) == other.assets(features).vocabulary(table), table


def files_of(data: PreparedData) -> dict[str, tuple[bytes, int]]:
    """Content and time of the record files."""
    paths = [Path(path) for part in PARTS for path in data.files(part)]
    return {str(path.relative_to(data.directory)): (path.read_bytes(), path.stat().st_mtime_ns) for path in paths}


def test_days_added_one_by_one_give_what_one_run_gives(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log", LOG)
    whole = run(log, tmp_path / "whole", None)
    run(log, tmp_path / "days", DateRange(FIRST, FIRST + 9))
    run(log, tmp_path / "days", DateRange(FIRST + 10, FIRST + 14))
    parts = run(log, tmp_path / "days", DateRange(FIRST + 15, FIRST + 21))
    assert_equal_data(parts, whole)
    assert parts.manifest["log_end"] == whole.manifest["log_end"]
    assert [entry["date_range"] for entry in parts.manifest["runs"]] == [
        str(DateRange(FIRST + first, FIRST + last)) for first, last in ((0, 9), (10, 14), (15, 21))
    ]
    days = {day for part in PARTS for day in parts.manifest["parts"][part]["days"]}
    assert days == {day_name(s["time"] // DAY) for s in LOG["sessions"]} - _without_records(whole)
    for name in files_of(parts):
        part, day, _ = name.split("/")[1:]
        assert day in parts.manifest["parts"][part]["days"]


def _without_records(data: PreparedData) -> set[str]:
    """Days whose training sessions all lack a positive."""
    found = {day for part in PARTS for day in data.manifest["parts"][part]["days"]}
    return {day_name(s["time"] // DAY) for s in LOG["sessions"]} - found


def test_a_day_that_is_redone_changes_alone(tmp_path: Path) -> None:
    day = FIRST + 3
    before = run(write_log(tmp_path / "log", LOG), tmp_path / "out", None)
    old, old_records = files_of(before), comparable_records(before, scenario().features)
    corrected = {**LOG, "sessions": [_corrected(s) if s["time"] // DAY == day else s for s in LOG["sessions"]]}
    after = run(write_log(tmp_path / "corrected", corrected), tmp_path / "out", DateRange(day, day))
    new = files_of(after)
    assert {name: content for name, content in old.items() if f"/{day_name(day)}/" not in name} == {
        name: content for name, content in new.items() if f"/{day_name(day)}/" not in name
    }
    assert all(not (tmp_path / "out" / name).exists() for name in old if f"/{day_name(day)}/" in name)
    records = comparable_records(after, scenario().features)
    changed = {key for key in records.keys() | old_records.keys() if records.get(key) != old_records.get(key)}
    assert changed == {key for key, record in records.items() if record["time"][0] // DAY == day} != set()
    assert all(records[key]["query_terms"] == ["corrected"] for key in changed)
    # what is of all days is made of all days: as one run over the corrected log gives it
    assert_equal_data(after, run(tmp_path / "corrected", tmp_path / "whole", None))
    # the log of that run ended with that day, so serving stays as of the later end
    assert (after.serving, after.manifest["log_end"]) == (before.serving, before.manifest["log_end"])
    assert (after.serving / "items.parquet").exists()


def _corrected(session: dict[str, Any]) -> dict[str, Any]:
    return session | {"query": "corrected"}


def test_yesterdays_test_day_becomes_training_data(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log", LOG)
    run(log, tmp_path / "out", DateRange(FIRST, TEST_START))
    moved = scenario(TEST_START + 1)
    with pytest.raises(InputError, match=f"moves {day_name(TEST_START - 2)} to another part; have --date-range cover"):
        run(log, tmp_path / "out", DateRange(TEST_START - 1, TEST_START + 1), moved)
    new_days = DateRange(TEST_START - 2, TEST_START + 1)
    data = run(log, tmp_path / "out", new_days, moved)
    assert list(data.manifest["parts"]["test"]["days"]) == [day_name(TEST_START + 1)]
    expected = run(log, tmp_path / "whole", DateRange(FIRST, TEST_START + 1), moved)
    assert data.sessions("train") == expected.sessions("train")
    # the day before stays what it was: validation
    assert_equal_data(data, expected)


def test_nothing_after_the_days_is_looked_at(tmp_path: Path) -> None:
    days = DateRange(FIRST, FIRST + 12)
    whole = run(write_log(tmp_path / "log", LOG), tmp_path / "out", days, scenario(FIRST + 10))
    cut: dict[str, Table] = {name: [row for row in rows if row.get("time", 0) < days.end] for name, rows in LOG.items()}
    early = run(write_log(tmp_path / "cut", cut), tmp_path / "early", days, scenario(FIRST + 10))
    assert_equal_data(whole, early)
    assert whole.manifest["log_end"] == early.manifest["log_end"] <= days.end
    balance = whole.manifest["runs"][0]["balance"]
    for table in ("events", "sessions"):
        left_out = balance[table]["left_out"]["dropped: outside the date range"]
        assert left_out == sum(row["time"] >= days.end for row in LOG[table])


def test_vocabularies_can_be_kept_from_an_earlier_run(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log", LOG)
    old = run(log, tmp_path / "old", DateRange(FIRST, FIRST + 5))
    # only test sessions: nothing to make vocabularies of
    days = DateRange(TEST_START, TEST_START + 5)
    new = run(log, tmp_path / "new", days, vocabularies_from=str(tmp_path / "old"))
    assert new.sessions("train") == 0 < new.sessions("test")
    features = scenario().features
    for table in features.tables:
        assert new.assets(features).vocabulary(table) == old.assets(features).vocabulary(table)
    assert new.assets(features).numeric == old.assets(features).numeric
    with pytest.raises(InputError, match=r"statistics\.json: not there"):
        run(log, tmp_path / "other", None, vocabularies_from=str(tmp_path / "log"))


@pytest.mark.parametrize(
    ("made", "options", "message"),
    [
        (scenario(), {}, "--date-range to add or redo days"),
        (scenario(partition_by="none"), {"days": DateRange(FIRST, FIRST)}, "needs records by day"),
        (scenario(label="clicked"), {"days": DateRange(FIRST, FIRST)}, "was made with `pipeline.label: purchased`"),
    ],
)
def test_what_would_mix_data_is_refused(made: Scenario, options: Any, message: str, tmp_path: Path) -> None:
    log = write_log(tmp_path / "log", LOG)
    before = files_of(run(log, tmp_path / "out", None))
    with pytest.raises(InputError, match=message):
        preprocess(made, str(log), str(tmp_path / "out"), **options)
    assert files_of(PreparedData.open(tmp_path / "out")) == before


def test_without_partition_the_records_are_the_same(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log", LOG)
    by_day = run(log, tmp_path / "days", None)
    together = run(log, tmp_path / "none", None, scenario(partition_by="none"))
    assert_equal_data(by_day, together)
    assert {name.split("/")[2] for name in files_of(together)} == {"all"}


def test_a_date_range_is_read_strictly() -> None:
    days = DateRange.parse("2024-02-28:2024-03-01")
    start = datetime.datetime(2024, 2, 28, tzinfo=datetime.UTC)
    assert (days.start, days.end) == (start.timestamp(), start.timestamp() + 3 * DAY)
    assert [day in days for day in ("2024-02-27", "2024-02-28", "2024-02-29", "2024-03-01", "2024-03-02")] == [
        False, True, True, True, False,
    ]  # fmt: skip
    assert str(DateRange.parse("2024-03-01")) == "2024-03-01:2024-03-01"
    for text in ("", "2024", "20240301", "2024-03-01:", "2024-02-30", "2024-03-01:2024-03-02:2024-03-03", "x:y"):
        with pytest.raises(InputError, match="must be FIRST:LAST"):
            DateRange.parse(text)
    with pytest.raises(InputError, match="ends before it begins"):
        DateRange.parse("2024-03-02:2024-03-01")
