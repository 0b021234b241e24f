"""comparison.json, as `awmoe compare`, `ablate` and `losses` write it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipeline.errors import InputError

COMPARISON = "comparison.json"


def read_comparison(directory: Path, kind: str) -> dict[str, Any]:
    """A comparison of that kind: `compare`, `ablate` or `losses`.

    Raises:
        InputError: it is not there, damaged, or of another kind; says which command makes it.
    """
    path = directory / COMPARISON
    try:
        comparison = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: is not there; `awmoe {kind} --output {directory}` makes it") from None
    except ValueError as error:
        raise InputError(f"{path}: is damaged ({error}); run `awmoe {kind}` again") from None
    if not isinstance(comparison, dict) or not {"labels", "parts"} <= comparison.keys():
        raise InputError(f"{path}: has no labels and parts; run `awmoe {kind}` again")
    if comparison.get("kind", kind) != kind:
        raise InputError(f"{directory}: is of `awmoe {comparison['kind']}`; name the directory of `awmoe {kind}`")
    return comparison
