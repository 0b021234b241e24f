"""Session metrics of a ranking of scored candidates."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from model.session_metrics import session_metrics

#: The column of each ranking's scores in the rows of `predict`, where they have it; a truth adds `probability`.
RANKINGS = {"model": "score", "popularity": "popularity", "displayed": "displayed", "oracle": "probability"}
#: Metrics by name, each an array over sessions.
Values = dict[str, np.ndarray]


def session_numbers(candidates: pa.Table) -> np.ndarray:
    """The session of each row, numbered from 0 in the order in which they come, `[M]`."""
    numbers: np.ndarray = candidates["session_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    return numbers


def session_values(candidates: pa.Table, sessions: np.ndarray, column: str = "score") -> Values:
    """The metrics of every session for the ranking by a column, NaN where one is not defined.

    Args:
        candidates: as `model.predict.predict` gives them.
        sessions: as `session_numbers`.
        column: one of `RANKINGS`. A missing value, such as the age of an item without events, ranks last.
    """
    scores = candidates[column].to_numpy().astype(np.float64)
    return session_metrics(sessions, candidates["label"].to_numpy(), np.where(np.isnan(scores), -np.inf, scores))
