"""How far a published version's scores are from the trained model's, beside the version."""

from __future__ import annotations

import json
from pathlib import Path

from pipeline.errors import InputError

SCORE_DIFFERENCE_FILE = Path("assets.extra") / "score_difference.json"
_KEY = "max_score_difference"


def write_score_difference(version_directory: Path, difference: float) -> None:
    """Adds the largest difference that `check_scores` found to a SavedModel's directory."""
    path = version_directory / SCORE_DIFFERENCE_FILE
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({_KEY: difference}) + "\n", encoding="utf-8")


def read_score_difference(version_directory: Path) -> float:
    """The largest difference of a score or a gate's component on the sessions of the check, as `check_scores` gives it.

    Raises:
        InputError: the directory is no version that `awmoe export` wrote.
    """
    path = version_directory / SCORE_DIFFERENCE_FILE
    try:
        return float(json.loads(path.read_text(encoding="utf-8"))[_KEY])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); export again") from None
