"""The tables of a comparison: models by metrics with their spread, and how sure differences are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from experiments.comparison import Comparison, MetricSummary, Pair, PartComparison

METRICS = {"auc": "AUC", "auc_at_10": "AUC@10", "ndcg": "NDCG", "ndcg_at_10": "NDCG@10"}
#: A difference with a larger p-value is no difference: the two tie.
SIGNIFICANT = 0.05
_UNKNOWN = "\N{EN DASH}"


@dataclass(frozen=True)
class Cell:
    """A number with its spread as text; whether it is the best, and whether it ties with the best."""

    mean: str
    spread: str = ""
    best: bool = False
    tie: bool = False


@dataclass(frozen=True)
class Row:
    """A model, or a ranking without training, which is a `reference`.

    Attributes:
        cells: by metric.
        covered: how much of the way from popularity to the oracle its AUC goes; empty where not known.
    """

    label: str
    cells: tuple[Cell, ...]
    covered: str = ""
    reference: bool = False


@dataclass(frozen=True)
class PairRow:
    """A difference between two models: `a` minus `b`."""

    a: str
    b: str
    difference: str
    interval: str
    p: str
    paired_p: str
    verdict: str


@dataclass(frozen=True)
class PartTable:
    """A part of the test set: rows of models, and pairs by the metric's title."""

    name: str
    sessions: int
    rows: tuple[Row, ...]
    pairs: tuple[tuple[str, tuple[PairRow, ...]], ...]


@dataclass(frozen=True)
class SizeRow:
    """What a model costs: weights outside and inside tables, seconds of training."""

    label: str
    dense: str
    tables: str
    seconds: str


def part_tables(comparison: Comparison) -> list[PartTable]:
    """One table a part, in the order of the file."""
    return [_part(name, part, comparison.labels) for name, part in comparison.parts.items()]


def size_rows(comparison: Comparison) -> list[SizeRow]:
    """Weights and training times."""
    rows = []
    for label, model in comparison.models.items():
        seconds = model.training_seconds
        time = f"{seconds.mean or 0:,.0f}" + (f" ± {seconds.std:,.0f}" if seconds.std is not None else "")
        rows.append(SizeRow(label, f"{model.dense_parameters:,}", f"{model.table_parameters:,}", time))
    return rows


def headline(comparison: Comparison) -> str:
    """One sentence: the best by session AUC over the first part, and who ties with it."""
    name, part = next(iter(comparison.parts.items()))
    best = _best(part, "auc")
    if best is None:
        return ""
    auc = part.models[best]["auc"]
    ties = [label for label in comparison.labels if _ties(part, "auc", best, label)]
    value = f"{auc.mean:.4f}" + (f" ± {auc.std:.4f}" if auc.std is not None else "")
    end = f"it ties with {_and(ties)} (p ≥ {SIGNIFICANT})" if ties else "no other model ties with it"
    if all(pair.p is None for pair in part.pairs["auc"]):
        end = "how sure its lead is, was not measured"
    return f"Over the {name} test part, {best} has the highest session AUC, {value}; {end}."


def _part(name: str, part: PartComparison, labels: Sequence[str]) -> PartTable:
    best = {metric: _best(part, metric) for metric in METRICS}
    rows = []
    for label, metrics in {**{label: part.models[label] for label in labels}, **part.references}.items():
        cells = tuple(_cell(part, metric, best[metric], label, metrics[metric]) for metric in METRICS)
        way = part.covered.get(label)
        rows.append(Row(label, cells, "" if way is None else f"{way:.1%}", reference=label in part.references))
    pairs = tuple((title, tuple(map(_pair, part.pairs[metric]))) for metric, title in METRICS.items())
    return PartTable(name.replace("_", " "), part.sessions, tuple(rows), tuple(pair for pair in pairs if pair[1]))


def _cell(part: PartComparison, metric: str, best: str | None, label: str, value: MetricSummary) -> Cell:
    if value.mean is None:
        return Cell(_UNKNOWN)
    spread = "" if value.std is None else f"± {value.std:.4f}"
    tie = best is not None and _ties(part, metric, best, label)
    return Cell(f"{value.mean:.4f}", spread, best=label == best, tie=tie)


def _pair(pair: Pair) -> PairRow:
    verdict = "not measured"
    if pair.p is not None:
        verdict = "tie" if pair.p >= SIGNIFICANT else f"{pair.a if pair.difference > 0 else pair.b} better"
    return PairRow(
        a=pair.a,
        b=pair.b,
        difference=_signed(pair.difference),
        interval=_UNKNOWN if pair.low is None or pair.high is None else f"{_signed(pair.low)} to {_signed(pair.high)}",
        p=_p_value(pair.p),
        paired_p=_p_value(pair.paired_p),
        verdict=verdict,
    )


def _best(part: PartComparison, metric: str) -> str | None:
    means = {label: metrics[metric].mean for label, metrics in part.models.items()}
    known = {label: mean for label, mean in means.items() if mean is not None}
    return max(known, key=lambda label: known[label]) if known else None


def _ties(part: PartComparison, metric: str, best: str, label: str) -> bool:
    for pair in part.pairs[metric]:
        if {pair.a, pair.b} == {best, label} and best != label:
            return pair.p is not None and pair.p >= SIGNIFICANT
    return False


def _signed(value: float) -> str:
    return f"{value:+.4f}".replace("-", "\N{MINUS SIGN}")


def _p_value(p: float | None) -> str:
    if p is None:
        return _UNKNOWN
    return "< 0.001" if p < 0.001 else f"{p:.2f}" if p >= 0.1 else f"{p:.3f}"


def _and(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
