"""A comparison for a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from rich.box import SIMPLE_HEAD
from rich.table import Table

from experiments.comparison import FULL, Comparison, PartComparison
from experiments.metric_titles import METRIC_TITLES
from experiments.number_text import interval, mean_and_spread, p_value, signed


def comparison_tables(comparison: Comparison) -> Iterator[Table]:
    """Metrics and differences of every part, margins over rankings without training, then what the models cost."""
    for name, part in comparison.parts.items():
        yield _metrics(comparison, name, part)
        if len(comparison.labels) > 1:
            yield _differences(comparison, name, part)
    if any(any(part.beyond_full.values()) for part in comparison.parts.values()):
        yield _beyond_full(comparison)
    if any(comparison.parts[FULL].margins.values()):
        yield _margins(comparison)
    yield _costs(comparison)


def _metrics(comparison: Comparison, name: str, part: PartComparison) -> Table:
    seeds = f"{len(comparison.seeds)} seeds" if len(comparison.seeds) > 1 else "one seed"
    table = _table(f"{name}: {part.sessions:,} sessions, mean and standard deviation over {seeds}", "ranking")
    for metric in comparison.shown_metrics:
        _number_column(table, METRIC_TITLES[metric])
    if part.covered:
        _number_column(table, "of the way to the oracle")
    ends = part.references
    for ranking, metrics in {**{k: v for k, v in ends.items() if k != "oracle"}, **part.models, **ends}.items():
        cells = [mean_and_spread(metrics[metric]) for metric in comparison.shown_metrics]
        if part.covered:
            cells.append(f"{part.covered[ranking]:.1%}" if ranking in part.covered else "")
        table.add_row(ranking, *cells)
    return table


def _differences(comparison: Comparison, name: str, part: PartComparison) -> Table:
    table = _table(f"{name}: differences; p over sessions and seeds", "AUC of", no_wrap=False)
    table.add_column("less that of", overflow="fold")
    for header, width in (("difference", 7), ("95% interval", 7), ("p", 5), ("p, sessions alone", 5)):
        _number_column(table, header, width)
    others = comparison.shown_metrics[1:]
    for metric in others:
        _number_column(table, f"{METRIC_TITLES[metric]} p", 5)
    pairs = {(pair.a, pair.b, metric): pair for metric, pairs in part.pairs.items() for pair in pairs}
    p = {key: pair.p for key, pair in pairs.items()}
    for a, b in comparison.pairs_of_interest:
        auc = pairs.get((a, b, "auc"))
        if auc is not None:
            found = signed(auc.difference), interval(auc.low, auc.high), p_value(auc.p), p_value(auc.paired_p)
            table.add_row(a, b, *found, *(p_value(p.get((a, b, metric))) for metric in others))
    return table


def _beyond_full(comparison: Comparison) -> Table:
    """By how much a difference is larger in a part than over all sessions."""
    table = _table("AUC differences beyond those of the full part", "AUC of", no_wrap=False)
    for header in ("less that of", "in"):
        table.add_column(header, overflow="fold")
    for header, width in (("more than in full", 7), ("95% interval", 7), ("p", 5)):
        _number_column(table, header, width)
    for name, part in comparison.parts.items():
        pairs = {(pair.a, pair.b): pair for pair in part.beyond_full.get("auc", [])}
        for a, b in comparison.pairs_of_interest:
            if (a, b) in pairs:
                pair = pairs[a, b]
                table.add_row(a, b, name, signed(pair.difference), interval(pair.low, pair.high), p_value(pair.p))
    return table


def _margins(comparison: Comparison) -> Table:
    """Of the full part: a section a ranking without training."""
    table = _table(f"{FULL}: margins over rankings without training, with 95% intervals", "ranking")
    for metric in comparison.margin_metrics:
        _number_column(table, METRIC_TITLES[metric])
        _number_column(table, "interval", 10)
    part = comparison.parts[FULL]
    margins = {(pair.a, pair.b, metric): pair for metric, pairs in part.margins.items() for pair in pairs}
    for b in part.references:
        table.add_section()
        table.add_row(f"over {b}")
        for a in comparison.labels:
            pairs = [margins.get((a, b, metric)) for metric in comparison.margin_metrics]
            cells = [(signed(pair.difference), interval(pair.low, pair.high)) if pair else ("", "") for pair in pairs]
            table.add_row(f"  {a}", *chain.from_iterable(cells))
    return table


def _costs(comparison: Comparison) -> Table:
    table = _table("size and training time", "model")
    for header in ("dense parameters", "table parameters", "training, s"):
        table.add_column(header, justify="right")
    for label, model in comparison.models.items():
        seconds = mean_and_spread(model.training_seconds, 0)
        table.add_row(label, f"{model.dense_parameters:,}", f"{model.table_parameters:,}", seconds)
    return table


def _table(title: str, first: str, *, no_wrap: bool = True) -> Table:
    # a small terminal has no room for edges, of which the blank line between tables is one
    table = Table(title=f"\n{title}", title_justify="left", box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column(first, no_wrap=no_wrap, overflow="fold")
    return table


def _number_column(table: Table, header: str, width: int = 7) -> None:
    """On a small terminal no narrower than that, and what has no room goes below: no digit is left out."""
    table.add_column(header, justify="right", min_width=width, overflow="fold")
