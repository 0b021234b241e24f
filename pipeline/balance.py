"""Where every row of the log went: read = kept + rejected + dropped, for each table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table


def balance(counters: Mapping[str, int]) -> dict[str, dict[str, Any]]:
    """Of each table how many rows were read and kept, and how many left out by reason.

    Example:
        balance({"read/items": 5, "kept/items": 4, "dropped/items/duplicate": 1})
        # {"items": {"read": 5, "kept": 4, "left_out": {"dropped: duplicate": 1}}}
    """
    tables = sorted({name.split("/")[1] for name in counters if name.startswith(("read/", "kept/"))})
    return {
        table: {
            "read": counters.get(f"read/{table}", 0),
            "kept": counters.get(f"kept/{table}", 0),
            "left_out": {
                f"{kind}: {reason}": amount
                for name, amount in sorted(counters.items())
                for kind, of, reason in [(*name.split("/", 2), "")[:3]]
                if kind in ("rejected", "dropped") and of == table
            },
        }
        for table in tables
    }


def why_unbalanced(
    rows: Mapping[str, Mapping[str, Any]], *, sessions_counted: int, files_made: int, files_found: int
) -> str:
    """What does not add up, in one line; empty where everything does.

    Args:
        rows: as `balance` gives it.
        sessions_counted: sessions whose values were counted.
        files_made: how many files of records the job made.
        files_found: how many there are.
    """
    for table, row in rows.items():
        found = row["kept"] + sum(row["left_out"].values())
        if row["read"] != found:
            return f"of {row['read']:,} rows of {table} read, {found:,} were kept, rejected or dropped"
    kept = rows.get("sessions", {}).get("kept", 0)
    if kept != sessions_counted:
        return f"{kept:,} sessions were kept and {sessions_counted:,} are in the records"
    return (
        "" if files_made == files_found else f"{files_made:,} files of records were made and {files_found:,} are there"
    )


def balance_table(rows: Mapping[str, Mapping[str, Any]]) -> Table:
    """For people."""
    table = Table(title="rows of the log")
    for column in ("table", "read", "kept", "left out", "why"):
        table.add_column(column, justify="right" if column in ("read", "kept", "left out") else "left")
    for name, row in rows.items():
        why = "\n".join(f"{reason} ({amount:,})" for reason, amount in row["left_out"].items())
        table.add_row(name, f"{row['read']:,}", f"{row['kept']:,}", f"{sum(row['left_out'].values()):,}", why)
    return table
