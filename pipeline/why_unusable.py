"""The judgement on a finished job, from what it counted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.config import Scenario
from pipeline.prepared_data import Part


def why_unusable(
    scenario: Scenario,
    counters: Mapping[str, int],
    parts: Mapping[Part, Any],
    *,
    frozen: bool = False,
    is_addition: bool = False,
) -> str:
    """Why the job's output cannot be used, in one line; empty where it can.

    It cannot when too many rows of a table were rejected, or when the items, the sessions, the
    training part or the test part have nothing in them.

    Args:
        scenario: the scenario.
        counters: of the job.
        parts: the manifest's, with days that were there before.
        frozen: vocabularies are given, so that no training part is needed.
        is_addition: of days to data that is there; a day may be empty.
    """
    settings = scenario.pipeline
    rejected = _left_out(counters, "rejected/")
    for table in sorted({name.split("/")[0] for name in rejected}):
        reasons = {name.split("/", 1)[1]: times for name, times in rejected.items() if name.startswith(f"{table}/")}
        bad, rows = sum(reasons.values()), counters[f"read/{table}"]
        if bad > settings.max_reject_share * rows:
            return (
                f"{bad} of {rows} rows of {table} are rejected ({bad / rows:.1%}), more than "
                f"pipeline.max_reject_share allows ({settings.max_reject_share:.1%}): {_top(reasons)}"
            )
    left_out = rejected | _left_out(counters, "dropped/")
    for table in ("items",) if is_addition else ("items", "sessions"):
        if not counters.get(f"kept/{table}"):
            # What emptied another table, such as the reviews that sessions are made of, is a reason too.
            reasons = {
                name: times for name, times in left_out.items() if not counters.get(f"kept/{name.split('/')[0]}")
            }
            return (
                f"has no usable {table}; left out: {_top(reasons)}" if reasons else f"has no {table}; the log is empty"
            )
    if not frozen and not parts["train"]["sessions"]:
        return (
            f"the training part has no session with a {settings.label} item "
            f"({counters.get('dropped/sessions/no positive', 0)} sessions without one, "
            f"{sum(times for name, times in rejected.items() if name.startswith('sessions/'))} rejected); "
            "give a larger log, or change pipeline.label or pipeline.split"
        )
    # A test part that begins on a day of its own may be added later.
    if not frozen and settings.split.test_start is None and not parts["test"]["sessions"]:
        few = "has too few users" if settings.split.by == "user" else "spans too little time (parts are full hours)"
        return f"the test part has no session: the log {few}; give a larger log, or change pipeline.split"
    return ""


def _left_out(counters: Mapping[str, int], kind: str) -> dict[str, int]:
    """Rows left out, by `<table>/<reason>`; candidates are no table."""
    found = {name.removeprefix(kind): times for name, times in counters.items() if name.startswith(kind)}
    return {name: times for name, times in found.items() if not name.startswith("candidates/")}


def _top(reasons: Mapping[str, int]) -> str:
    """The five most frequent."""
    top = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))[:5]
    return ", ".join(f"{reason.replace('/', ': ', 1)} ({times})" for reason, times in top)
