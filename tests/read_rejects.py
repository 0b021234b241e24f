"""Reads the rejects that the job left."""

import json
from pathlib import Path
from typing import Any


def read_rejects(output: Path, table: str) -> list[dict[str, Any]]:
    """Rejects of a table, of the only or the latest run in a directory."""
    *_, rejects = sorted(output.glob("revision-*/rejects"))
    return [json.loads(line) for file in rejects.glob(f"{table}-*.jsonl") for line in file.read_text().splitlines()]
