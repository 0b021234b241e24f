"""The tables of a comparison: models by metrics with their spread, and how sure differences are."""

from __future__ import annotations

from dataclasses import dataclass

from experiments.comparison import FULL, Comparison, MetricSummary, Pair, PartComparison
from experiments.metric_titles import METRIC_TITLES
from experiments.number_text import interval, mean_and_spread, p_value, signed, spread

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
class MarginRow:
    """A model less a ranking without training: by metric the difference, and its interval as `spread`."""

    label: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class MarginTable:
    """Margins: titles of the metrics, and rows by ranking without training."""

    metrics: tuple[str, ...]
    references: tuple[tuple[str, tuple[MarginRow, ...]], ...]


@dataclass(frozen=True)
class PartTable:
    """A part of the test set.

    Attributes:
        metrics: titles of the rows' cells.
        rows: of models and rankings without training.
        pairs: by the metric's title.
        margins: of the full part alone.
    """

    name: str
    sessions: int
    metrics: tuple[str, ...]
    rows: tuple[Row, ...]
    pairs: tuple[tuple[str, tuple[PairRow, ...]], ...]
    margins: MarginTable | None = None


@dataclass(frozen=True)
class SizeRow:
    """What a model costs: weights outside and inside tables, seconds of training."""

    label: str
    dense: str
    tables: str
    seconds: str


def part_tables(comparison: Comparison) -> list[PartTable]:
    """One table a part, in the order of the file."""
    return [_part(comparison, name, part) for name, part in comparison.parts.items()]


def size_rows(comparison: Comparison) -> list[SizeRow]:
    """Weights and training times."""
    rows = []
    for label, model in comparison.models.items():
        time = mean_and_spread(model.training_seconds, 0)
        rows.append(SizeRow(label, f"{model.dense_parameters:,}", f"{model.table_parameters:,}", time))
    return rows


def headline(comparison: Comparison) -> str:
    """One sentence: the best by session AUC over the first part, and who ties with it."""
    name, part = next(iter(comparison.parts.items()))
    best = _best(part, "auc")
    if best is None:
        return ""
    ties = [label for label in comparison.labels if _ties(part, "auc", best, label)]
    value = mean_and_spread(part.models[best]["auc"])
    end = f"it ties with {_and(ties)} (p ≥ {SIGNIFICANT})" if ties else "no other model ties with it"
    if all(pair.p is None for pair in part.pairs["auc"]):
        end = "how sure its lead is, was not measured"
    return f"Over the {name} test part, {best} has the highest session AUC, {value}; {end}."


def _part(comparison: Comparison, name: str, part: PartComparison) -> PartTable:
    shown = comparison.shown_metrics
    best = {metric: _best(part, metric) for metric in shown}
    rows = []
    for label, metrics in {**{label: part.models[label] for label in comparison.labels}, **part.references}.items():
        cells = tuple(_cell(part, metric, best[metric], label, metrics[metric]) for metric in shown)
        way = part.covered.get(label)
        rows.append(Row(label, cells, "" if way is None else f"{way:.1%}", reference=label in part.references))
    pairs = tuple((METRIC_TITLES[metric], tuple(map(_pair, part.pairs[metric]))) for metric in shown)
    beyond = tuple(_pair(pair, "as much as over all", "gains more here") for pair in part.beyond_full.get("auc", []))
    return PartTable(
        name=name.replace("_", " "),
        sessions=part.sessions,
        metrics=tuple(METRIC_TITLES[metric] for metric in shown),
        rows=tuple(rows),
        pairs=tuple(pair for pair in (*pairs, ("AUC, beyond the difference over all", beyond)) if pair[1]),
        margins=_margins(comparison, part) if name == FULL and any(part.margins.values()) else None,
    )


def _margins(comparison: Comparison, part: PartComparison) -> MarginTable:
    found = {(pair.a, pair.b, metric): pair for metric, pairs in part.margins.items() for pair in pairs}

    def cell(label: str, reference: str, metric: str) -> Cell:
        pair = found.get((label, reference, metric))
        return Cell(_UNKNOWN) if pair is None else Cell(signed(pair.difference), interval(pair.low, pair.high))

    metrics = comparison.margin_metrics
    return MarginTable(
        tuple(METRIC_TITLES[metric] for metric in metrics),
        tuple(
            (name, tuple(MarginRow(a, tuple(cell(a, name, metric) for metric in metrics)) for a in comparison.labels))
            for name in part.references
        ),
    )


def _cell(part: PartComparison, metric: str, best: str | None, label: str, value: MetricSummary) -> Cell:
    if value.mean is None:
        return Cell(_UNKNOWN)
    tie = best is not None and _ties(part, metric, best, label)
    return Cell(f"{value.mean:.4f}", spread(value), best=label == best, tie=tie)


def _pair(pair: Pair, tie: str = "tie", more: str = "better") -> PairRow:
    verdict = "not measured"
    if pair.p is not None:
        verdict = tie if pair.p >= SIGNIFICANT else f"{pair.a if pair.difference > 0 else pair.b} {more}"
    return PairRow(
        a=pair.a,
        b=pair.b,
        difference=signed(pair.difference),
        interval=interval(pair.low, pair.high) or _UNKNOWN,
        p=p_value(pair.p) or _UNKNOWN,
        paired_p=p_value(pair.paired_p),
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


def _and(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
