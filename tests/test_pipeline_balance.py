"""The balance of a job's counters."""

import pytest
from rich.console import Console

from pipeline.balance import balance, balance_table, why_unbalanced

COUNTERS = {
    "read/items": 5,
    "kept/items": 4,
    "dropped/items/duplicate": 1,
    "read/sessions": 10,
    "kept/sessions": 7,
    "rejected/sessions/lacks `time`": 2,
    "dropped/sessions/no positive": 1,
    "dropped/candidates/not sampled": 50,
    "written/train/sessions": 7,
}


def test_every_row_is_accounted_for_by_reason() -> None:
    rows = balance(COUNTERS)
    assert rows == {
        "items": {"read": 5, "kept": 4, "left_out": {"dropped: duplicate": 1}},
        "sessions": {
            "read": 10,
            "kept": 7,
            "left_out": {"dropped: no positive": 1, "rejected: lacks `time`": 2},
        },
    }
    assert why_unbalanced(rows, sessions_counted=7, files_made=3, files_found=3) == ""
    console = Console(width=100)
    with console.capture() as shown:
        console.print(balance_table(rows))
    assert "rejected: lacks `time` (2)" in shown.get()


@pytest.mark.parametrize(
    ("counters", "counted", "found", "reason"),
    [
        (COUNTERS | {"read/items": 6}, 7, 3, "of 6 rows of items read, 5 were kept, rejected or dropped"),
        (COUNTERS, 6, 3, "7 sessions were kept and 6 are in the records"),
        (COUNTERS, 7, 2, "3 files of records were made and 2 are there"),
        ({}, 0, 3, ""),
    ],
)
def test_what_does_not_add_up_is_told(counters: dict[str, int], counted: int, found: int, reason: str) -> None:
    assert why_unbalanced(balance(counters), sessions_counted=counted, files_made=3, files_found=found) == reason
