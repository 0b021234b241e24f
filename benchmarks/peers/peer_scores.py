"""What a model of another library gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class PeerScores:
    """Scores of a fitted model, and how it came by them.

    Attributes:
        scores: float64 `[M]`, of the rows of the test table; the higher the better within a session.
        facts: what a report tells of the fit, ready for JSON: seconds, sizes, the validation's session AUC.
    """

    scores: np.ndarray
    facts: dict[str, Any]
