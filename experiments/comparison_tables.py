"""A comparison for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.box import SIMPLE_HEAD
from rich.table import Table

from experiments.comparison import Comparison, Pair, PartComparison, Summary
from model.session_metrics import PAPER_METRICS

_HEADERS = {"auc": "AUC", "auc_at_10": "AUC@10", "ndcg": "NDCG", "ndcg_at_10": "NDCG@10"}


def comparison_tables(comparison: Comparison) -> Iterator[Table]:
    """Metrics and differences of every part, then what the models cost."""
    for name, part in comparison.parts.items():
        yield _metrics(comparison, name, part)
        if len(comparison.labels) > 1:
            yield _differences(comparison, name, part)
    yield _costs(comparison)


def _metrics(comparison: Comparison, name: str, part: PartComparison) -> Table:
    seeds = f"{len(comparison.seeds)} seeds" if len(comparison.seeds) > 1 else "one seed"
    table = _table(f"{name}: {part.sessions:,} sessions, mean and standard deviation over {seeds}", "ranking")
    for header in _HEADERS.values():
        table.add_column(header, justify="right", no_wrap=True)
    if part.covered:
        table.add_column("of the way to the oracle", justify="right", min_width=6)
    ends = part.references
    for ranking, metrics in {**{k: v for k, v in ends.items() if k != "oracle"}, **part.models, **ends}.items():
        cells = [_number(metrics[metric]) for metric in PAPER_METRICS]
        if part.covered:
            cells.append(f"{part.covered[ranking]:.1%}" if ranking in part.covered else "")
        table.add_row(ranking, *cells)
    return table


def _differences(comparison: Comparison, name: str, part: PartComparison) -> Table:
    table = _table(f"{name}: differences; p over sessions and seeds", "AUC of")
    for header in ("less that of", "difference", "95% interval", "p", "p, sessions alone"):
        table.add_column(header, justify="left" if header == "less that of" else "right")
    for metric in PAPER_METRICS[1:]:
        table.add_column(f"{_HEADERS[metric]} p", justify="right")
    pairs = {(pair.a, pair.b, metric): pair for metric, pairs in part.pairs.items() for pair in pairs}
    for a, b in comparison.pairs_of_interest:
        auc = pairs.get((a, b, "auc"))
        others = [_p(pairs.get((a, b, metric))) for metric in PAPER_METRICS[1:]]
        if auc is not None:
            interval = "" if auc.low is None else f"{auc.low:+.4f} {auc.high:+.4f}"
            table.add_row(a, b, f"{auc.difference:+.4f}", interval, _p(auc), f"{auc.paired_p:.1e}", *others)
    return table


def _costs(comparison: Comparison) -> Table:
    table = _table("size and training time", "model")
    for header in ("dense parameters", "table parameters", "training, s"):
        table.add_column(header, justify="right")
    for label, model in comparison.models.items():
        seconds = _number(model.training_seconds, 0)
        table.add_row(label, f"{model.dense_parameters:,}", f"{model.table_parameters:,}", seconds)
    return table


def _table(title: str, first: str) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column(first, no_wrap=True)
    return table


def _number(summary: Summary, digits: int = 4) -> str:
    if summary.mean is None:
        return ""
    spread = "" if summary.std is None else f" ±{summary.std:.{digits}f}"
    return f"{summary.mean:.{digits}f}{spread}"


def _p(pair: Pair | None) -> str:
    if pair is None or pair.p is None:
        return ""
    return f"{pair.p:.3f}" if pair.p >= 0.001 else f"{pair.p:.0e}"
