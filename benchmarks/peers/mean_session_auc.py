"""The criterion by which peers stop, and by which their settings are chosen."""

from __future__ import annotations

import numpy as np

from benchmarks.peers.candidate_table import CandidateTable
from model.session_metrics import session_metrics


def mean_session_auc(table: CandidateTable, scores: np.ndarray) -> float:
    """Mean over the sessions that have both classes of `session_metrics`' AUC; NaN where none has.

    Args:
        scores: `[M]`, of the table's rows.
    """
    auc = session_metrics(table.sessions, table.labels, scores)["auc"]
    return float(np.mean(auc[~np.isnan(auc)])) if not np.isnan(auc).all() else float("nan")
