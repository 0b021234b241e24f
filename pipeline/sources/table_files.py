"""Which of a directory's files are those of one table."""

from __future__ import annotations

import re
from collections.abc import Mapping


def table_files(listed: Mapping[str, str], table: str) -> list[str]:
    """The paths of a table's files: `events.jsonl`, `events.parquet`, `events-00000-of-00004.jsonl.gz`.

    Args:
        listed: names to paths, as `list_files` gives them.
        table: the table's name.
    """
    pattern = re.compile(rf"{table}(-[^.]*)?((\.jsonl|\.json)(\.gz)?|\.parquet)")
    return [path for name, path in listed.items() if pattern.fullmatch(name)]
