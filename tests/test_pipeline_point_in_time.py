"""Nothing at or after a session's time reaches its record: planted future events change nothing."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from prepared_records import comparable_records
from small_log import DAY, START, Table, small_log, small_scenario, write_log

from pipeline.balance import balance, why_unbalanced
from pipeline.prepared_data import PARTS, PreparedData
from pipeline.run import preprocess

SCENARIO = small_scenario(max_reject_share=1)


def prepare(log: dict[str, Table]) -> tuple[dict[tuple[str, str], dict[str, Any]], dict[str, Any]]:
    """Records by part and session, and the manifest."""
    with tempfile.TemporaryDirectory() as directory:
        manifest = preprocess(SCENARIO, str(write_log(Path(directory) / "log", log)), f"{directory}/out")
        return comparable_records(PreparedData.open(f"{directory}/out"), SCENARIO.features), manifest


@pytest.mark.slow
@settings(max_examples=4, deadline=None, phases=[Phase.explicit, Phase.generate])  # shrinking takes minutes
@given(seed=st.integers(0, 10**6), hours=st.integers(24 * 4, 24 * 20), events=st.integers(0, 250))
def test_planted_future_events_are_absent(seed: int, hours: int, events: int) -> None:
    now = START + 3600 * hours
    log = small_log(seed, events=events)
    clean = {**log, "events": [event for event in log["events"] if event["time"] < now]}
    draw = np.random.default_rng(seed)
    # In the very second of the sessions at that time, and later; all users, all items.
    planted = [
        {"user_id": f"u{u}", "item_id": f"i{i}", "action": action, "time": now + int(draw.choice([0, 1, DAY]))}
        for u in range(12)
        for i in range(15)
        for action in ("click", "purchase")
    ]
    records, manifest = prepare(clean)
    with_future, future = prepare({**clean, "events": clean["events"] + planted})
    assert records.keys() == with_future.keys()
    early = {key for key, record in records.items() if record["time"][0] <= now}
    assert {key: with_future[key] for key in early} == {key: records[key] for key in early}
    # and they do count for whoever comes after them, so they were read
    kept = [made["runs"][0]["counters"].get("kept/events", 0) for made in (manifest, future)]
    assert kept[1] == kept[0] + len(planted)
    late = {key for key, record in records.items() if record["time"][0] > now + DAY and record["behavior_count"][0]}
    assert all(with_future[key] != records[key] for key in late)


@settings(max_examples=4, deadline=None, phases=[Phase.explicit, Phase.generate])  # shrinking takes minutes
@given(seed=st.integers(0, 10**6), users=st.integers(2, 30), sessions=st.integers(30, 90), broken=st.integers(0, 9))
def test_nothing_is_lost(seed: int, users: int, sessions: int, broken: int) -> None:
    log = small_log(seed, users=users, sessions=sessions)
    draw = np.random.default_rng(seed)
    for table in ("items", "events", "users"):
        for _ in range(broken):
            row = dict(log[table][int(draw.integers(0, len(log[table])))])
            row[str(draw.choice(list(row)))] = None
            log[table].append(row)
    log["sessions"] += [log["sessions"][0]] * broken + [{**log["sessions"][0], "candidates": [{"item_id": "gone"}]}]
    records, manifest = prepare(log)
    (run,) = manifest["runs"]
    files = sum(amount for name, amount in run["counters"].items() if name.endswith("/files"))
    made = {"sessions_counted": len(records), "files_made": files, "files_found": files}
    assert why_unbalanced(balance(run["counters"]), **made) == ""
    assert {name: row["read"] for name, row in run["balance"].items()} == {n: len(rows) for n, rows in log.items()}
    # every shown item is kept in validation and test, once
    shown = {s["session_id"]: {c["item_id"] for c in s["candidates"]} for s in log["sessions"][:sessions]}
    for (part, session), record in records.items():
        if part != "train" and session != log["sessions"][0]["session_id"]:
            assert sorted(record["candidate_item_id"]) == sorted(shown[session])
    assert len({session for _, session in records}) == len(records)
    for part in PARTS:
        assert manifest["parts"][part]["sessions"] == sum(key[0] == part for key in records)
        assert manifest["parts"][part]["candidates"] == sum(
            record["candidate_count"][0] for key, record in records.items() if key[0] == part
        )
