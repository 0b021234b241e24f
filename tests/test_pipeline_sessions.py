"""The join of a shard: which sessions and candidates leave it."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from small_log import small_scenario

from pipeline.batches import concat_batches
from pipeline.config import Scenario
from pipeline.prepared_data import PARTS
from pipeline.raw_tables import users_schema
from pipeline.sampling import hash_texts
from pipeline.scenario_file import parse_scenario
from pipeline.sessions import RESOLVED_EVENTS, JoinedShard, join_sessions, resolved_sessions

HASHES = hash_texts(pa.array([f"i{i}" for i in range(10)]), 17)


def session(name: str, time: int, candidates: dict[int, bool], **more: Any) -> dict[str, Any]:
    return {
        "session_id": name,
        "user_id": "u",
        "time": time,
        "query": "q",
        "candidates": list(candidates),
        "clicked": [True] * len(candidates),
        "purchased": list(candidates.values()),
        "new_item": False,
        **more,
    }


def join(scenario: Scenario, sessions: list[dict], users: list[dict] | None = None) -> JoinedShard:
    """Validation begins at 100, test at 200."""
    features = scenario.features
    return join_sessions(
        scenario,
        events=concat_batches([], RESOLVED_EVENTS),
        sessions=pa.RecordBatch.from_pylist(sessions, resolved_sessions(features)),
        users=pa.RecordBatch.from_pylist(users or [], users_schema(features)),
        item_hashes=HASHES,
        boundaries=(100, 200),
        log_end=1000,
    )


def parts(joined: JoinedShard) -> dict[str, str]:
    rows = joined.sessions.select(["session_id", "part"]).to_pylist()
    return {row["session_id"]: PARTS[row["part"]] for row in rows}


def test_sessions_go_to_their_parts_and_what_is_left_out_is_counted() -> None:
    joined = join(
        small_scenario(),
        [
            session("train", 50, {1: True, 2: False}),
            session("no positive", 60, {1: False, 2: False}),
            session("validation", 150, {1: False}),
            session("test", 250, {1: False}),
            session("new", 260, {1: True}, new_item=True),
            session("new too early", 70, {1: True}, new_item=True),
        ],
    )
    assert parts(joined) == {"train": "train", "validation": "validation", "test": "test", "new": "new_items"}
    assert +joined.counts == {
        "dropped/sessions/new item": 1,
        "dropped/sessions/no positive": 1,
        "kept/sessions": 4,
    }


def test_training_samples_and_other_parts_keep_all() -> None:
    shown = dict.fromkeys(range(10), False) | {3: True, 7: True}
    joined = join(small_scenario(), [session("a", 50, shown), session("b", 250, shown)])
    train, test = joined.sessions.to_pylist()
    assert len(train["candidates"]) == 4
    assert {item for item, label in zip(train["candidates"], train["label"], strict=True) if label} == {3, 7}
    assert sorted(test["candidates"]) == list(range(10))
    assert joined.counts["dropped/candidates/not sampled"] == 6


def test_the_order_of_candidates_says_nothing_about_the_label() -> None:
    sessions = [session(f"s{s}", 50, {i: i == s % 10 for i in range(10)}) for s in range(2000)]
    joined = join(small_scenario(), sessions)
    labels = np.array(joined.sessions.column("label").to_pylist())
    assert labels.shape == (2000, 2)
    assert abs(labels[:, 0].mean() - 0.5) < 0.05
    items = np.array(joined.sessions.column("candidates").to_pylist())
    negatives = items[labels == 0]
    assert np.bincount(negatives, minlength=10).min() > 120  # of 200 expected: every item is sampled


@pytest.mark.parametrize("purchased", [[True, False, False], [False, False, True]])
def test_a_repeated_candidate_counts_once_and_is_bought_if_it_is_anywhere(purchased: list[bool]) -> None:
    row = session("a", 250, {}) | {"candidates": [1, 2, 1], "clicked": [True] * 3, "purchased": purchased}
    other = session("b", 260, {1: False, 2: False})
    joined = join(small_scenario(), [row, other])
    found = [dict(zip(row["candidates"], row["label"], strict=True)) for row in joined.sessions.to_pylist()]
    assert found == [{1: 1.0, 2: 0.0}, {1: 0.0, 2: 0.0}]
    assert joined.counts["dropped/candidates/duplicate"] == 1


def test_the_label_may_be_the_click() -> None:
    joined = join(small_scenario(label="clicked"), [session("a", 50, {1: False})])
    assert joined.sessions.column("label").to_pylist() == [[1.0]]


def test_profiles_are_joined_and_repeated_ones_counted() -> None:
    users = [{"user_id": "u", "age_group": "b"}, {"user_id": "u", "age_group": "a"}, {"user_id": "v", "age_group": "c"}]
    sessions = [session("a", 250, {1: False}), session("b", 260, {1: False}, user_id="w")]
    joined = join(small_scenario(), sessions, users)
    assert joined.sessions.column("user_age_group").to_pylist() == ["a", ""]
    assert (joined.counts["dropped/users/duplicate"], joined.counts["kept/users"]) == (1, 2)


def test_a_user_without_a_required_number_is_rejected() -> None:
    raw = small_scenario().model_dump(mode="json", exclude_defaults=True)
    raw["features"]["user"]["income"] = {"kind": "numeric"}
    scenario = parse_scenario(raw, "small")
    sessions = [session("a", 250, {1: False}), session("b", 260, {1: False}, user_id="w")]
    joined = join(scenario, sessions, [{"user_id": "u", "age_group": "", "income": 3.0}])
    assert joined.sessions.column("user_income").to_pylist() == [3.0]
    assert joined.rejected.to_pylist() == [{"session_id": "b", "user_id": "w", "time": 260}]
    assert joined.counts["kept/sessions"] == 1


def test_an_empty_shard_gives_nothing() -> None:
    joined = join(small_scenario(), [])
    assert (joined.sessions.num_rows, joined.users.num_rows, joined.pairs.num_rows) == (0, 0, 0)
    assert joined.users.schema.names == ["user_id", "activity"]
    assert not +joined.counts
