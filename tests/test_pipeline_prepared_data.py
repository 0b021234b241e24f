"""Prepared data as its readers see it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.days import DateRange
from pipeline.errors import InputError
from pipeline.prepared_data import PARTS, PreparedData


def of_days(sessions: dict[str, int]) -> dict[str, Any]:
    days: dict[str, dict[str, Any]] = {
        day: {"files": [f"{day}.gz"], "sessions": count, "candidates": 3 * count, "positives": count}
        for day, count in sessions.items()
    }
    totals = {name: sum(entry[name] for entry in days.values()) for name in ("sessions", "candidates", "positives")}
    return {**totals, "days": days}


DAYS = {"2024-02-28": 5, "2024-02-29": 7, "2024-03-01": 11}
DATA = PreparedData(Path("data"), {"latest": "revision", "parts": {part: of_days(DAYS) for part in PARTS}})


def test_training_days_are_those_of_the_range_and_the_other_parts_stay() -> None:
    kept = DATA.with_training_days(DateRange.parse("2024-02-29:2024-03-05"))
    assert kept.manifest["parts"]["train"] == of_days({"2024-02-29": 7, "2024-03-01": 11})
    assert [kept.sessions(part) for part in PARTS] == [18, 23, 23, 23]
    assert DATA.sessions("train") == 23
    assert kept.manifest["latest"] == "revision"


@pytest.mark.parametrize(
    ("days", "has"),
    [(DAYS, "it has 2024-02-28 to 2024-03-01"), ({"all": 5}, "it is not partitioned by day"), ({}, "it has none")],
)
def test_a_range_without_a_training_day_is_refused(days: dict[str, int], has: str) -> None:
    data = PreparedData(Path("data"), {"parts": {part: of_days(days) for part in PARTS}})
    with pytest.raises(InputError, match=rf"data: has no training day in 2024-03-02:2024-03-03; {has}"):
        data.with_training_days(DateRange.parse("2024-03-02:2024-03-03"))


def test_days_that_are_held_out_are_told_as_such() -> None:
    parts = {part: of_days(DAYS) for part in PARTS} | {"test": of_days({"2024-03-02": 3, "2024-03-04": 0})}
    data = PreparedData(Path("data"), {"parts": parts})
    message = (
        "to 2024-03-01; days in that range are in its test part: preprocess them again with a later pipeline.split"
    )
    with pytest.raises(InputError, match=message):
        data.with_training_days(DateRange.parse("2024-03-02:2024-03-03"))
    with pytest.raises(InputError, match=r"to 2024-03-01$"):
        data.with_training_days(DateRange.parse("2024-03-04"))
    assert (data.days("train"), data.days("test")) == (sorted(DAYS), ["2024-03-02"])
