"""The judgement on a finished job: each reason in its words, and nothing against a good one."""

from typing import Any

import pytest
from small_log import small_scenario

from pipeline.config import Scenario
from pipeline.why_unusable import why_unusable

SCENARIO = small_scenario(max_reject_share=0.1)
GOOD = {
    "read/items": 5,
    "kept/items": 5,
    "read/events": 10,
    "kept/events": 9,
    "rejected/events/unknown item": 1,
    "read/sessions": 8,
    "kept/sessions": 8,
    "dropped/candidates/not sampled": 99,
}
PARTS: dict[Any, Any] = {"train": {"sessions": 6}, "test": {"sessions": 2}}


def test_a_good_job_has_nothing_against_it() -> None:
    assert why_unusable(SCENARIO, GOOD, PARTS) == ""


@pytest.mark.parametrize(
    ("scenario", "counters", "reason"),
    [
        (
            SCENARIO,
            {"rejected/events/no JSON": 2},
            "3 of 10 rows of events are rejected (30.0%), more than pipeline.max_reject_share allows (10.0%): "
            "no JSON (2), unknown item (1)",
        ),
        (SCENARIO, {"kept/items": 0, "rejected/events/unknown item": 0}, "has no items; the log is empty"),
        (
            SCENARIO,
            {"kept/sessions": 0, "dropped/reviews/no metadata": 7},
            "has no usable sessions; left out: reviews: no metadata (7)",
        ),
        (
            SCENARIO,
            {"part/train": 0, "dropped/sessions/no positive": 4},
            "the training part has no session with a purchased item (4 sessions without one, 0 rejected); "
            "give a larger log, or change pipeline.label or pipeline.split",
        ),
        (
            small_scenario(max_reject_share=1, label="clicked"),
            {"part/train": 0, "rejected/sessions/user without a required number": 3},
            "the training part has no session with a clicked item (0 sessions without one, 3 rejected); "
            "give a larger log, or change pipeline.label or pipeline.split",
        ),
        (
            SCENARIO,
            {"part/test": 0},
            "the test part has no session: the log spans too little time (parts are full hours); "
            "give a larger log, or change pipeline.split",
        ),
        (
            small_scenario(max_reject_share=1, split={"by": "user"}),
            {"part/test": 0},
            "the test part has no session: the log has too few users; give a larger log, or change pipeline.split",
        ),
    ],
    ids=["rejects", "no items", "no sessions", "no positives", "only rejects", "short log", "few users"],
)
def test_each_reason_is_told(scenario: Scenario, counters: dict[str, int], reason: str) -> None:
    parts = {name: {"sessions": counters.get(f"part/{name}", part["sessions"])} for name, part in PARTS.items()}
    assert why_unusable(scenario, {name: n for name, n in (GOOD | counters).items() if n}, parts) == reason


def test_with_given_vocabularies_or_a_fixed_test_day_a_part_may_be_empty() -> None:
    empty = {name: {"sessions": 0} for name in PARTS}
    assert why_unusable(SCENARIO, GOOD, empty, frozen=True) == ""
    fixed = small_scenario(max_reject_share=0.1, split={"test_start": "2024-03-01"})
    assert why_unusable(fixed, GOOD, PARTS | {"test": {"sessions": 0}}) == ""
    assert "the training part has no session" in why_unusable(fixed, GOOD, empty)
