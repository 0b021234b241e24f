"""The rule that every job's counters keep."""

from __future__ import annotations


def assert_adds_up(counters: dict[str, int]) -> None:
    """Of every table the rows read are those kept, rejected and dropped together."""
    for table in [name.removeprefix("read/") for name in counters if name.startswith("read/")]:
        left_out = {n: v for n, v in counters.items() if n.startswith((f"rejected/{table}/", f"dropped/{table}/"))}
        kept = counters.get(f"kept/{table}", 0)
        assert counters[f"read/{table}"] == kept + sum(left_out.values()), f"{table}: {kept} kept, {left_out}"
