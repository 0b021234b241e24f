"""Scores as a ranked page."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Ranked(NamedTuple):
    """One candidate of a ranked page: its position in the page as it was given, and its score."""

    position: int
    score: float


def ranked(scores: np.ndarray) -> list[Ranked]:
    """Best first; equal scores keep the order given."""
    return [Ranked(int(index), float(scores[index])) for index in np.argsort(-scores, kind="stable")]
