"""What tables and figures call the session metrics."""

from __future__ import annotations

#: By the names of `model.session_metrics.SESSION_METRICS`, in the order of tables.
METRIC_TITLES = {"auc": "AUC", "auc_at_10": "AUC@10", "ndcg": "NDCG", "ndcg_at_10": "NDCG@10", "mrr": "MRR"}
