"""The tables of a comparison: models by metrics with their spread, and how sure differences are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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
    sessions: int | None
    rows: tuple[Row, ...]
    pairs: tuple[tuple[str, tuple[PairRow, ...]], ...]


@dataclass(frozen=True)
class SizeRow:
    """What a model costs."""

    label: str
    dense: str
    tables: str
    seconds: str


def part_tables(comparison: Mapping[str, Any]) -> list[PartTable]:
    """One table a part, in the order of the file."""
    return [_part(name, part, comparison["labels"]) for name, part in comparison["parts"].items()]


def size_rows(comparison: Mapping[str, Any]) -> list[SizeRow]:
    """Weights and training times, where the comparison has them."""
    models = comparison.get("models") or {}
    rows = []
    for label in comparison["labels"]:
        if facts := models.get(label):
            mean, spread = _mean_and_spread(facts.get("training_seconds"))
            seconds = "" if mean is None else f"{mean:,.0f}" + (f" ± {spread:,.0f}" if spread is not None else "")
            dense, tables = (f"{facts.get(f'{kind}_parameters') or 0:,}" for kind in ("dense", "table"))
            rows.append(SizeRow(label, dense, tables, seconds))
    return rows


def headline(comparison: Mapping[str, Any]) -> str:
    """One sentence: the best by session AUC over the first part, and who ties with it."""
    name, part = next(iter(comparison["parts"].items()))
    best = _best(part, "auc", comparison["labels"])
    if best is None:
        return ""
    mean, spread = _mean_and_spread(part["models"][best]["auc"])
    ties = [label for label in comparison["labels"] if _ties(part, "auc", best, label)]
    value = f"{mean:.4f}" + (f" ± {spread:.4f}" if spread is not None else "")
    end = f"it ties with {_and(ties)} (p ≥ {SIGNIFICANT})" if ties else "no other model ties with it"
    if not (part.get("pairs") or {}).get("auc"):
        end = "how sure its lead is, was not measured"
    return f"Over the {name} test part, {best} has the highest session AUC, {value}; {end}."


def _part(name: str, part: Mapping[str, Any], labels: list[str]) -> PartTable:
    models = part["models"]
    references = part.get("references") or {}
    covered = part.get("covered") or {}
    best = {metric: _best(part, metric, labels) for metric in METRICS}
    rows = []
    for label in [*(label for label in labels if label in models), *references]:
        is_reference = label not in labels
        metrics = (references if is_reference else models)[label] or {}
        cells = []
        for metric in METRICS:
            mean, spread = _mean_and_spread(metrics.get(metric))
            leader = best[metric]
            cells.append(
                Cell(_UNKNOWN)
                if mean is None
                else Cell(
                    f"{mean:.4f}",
                    "" if spread is None else f"± {spread:.4f}",
                    best=label == leader,
                    tie=leader is not None and _ties(part, metric, leader, label),
                )
            )
        way = _number(covered.get(label))
        rows.append(Row(label, tuple(cells), "" if way is None else f"{way:.1%}", is_reference))
    pairs = tuple(
        (title, tuple(_pair(pair) for pair in (part.get("pairs") or {}).get(metric) or ()))
        for metric, title in METRICS.items()
    )
    return PartTable(name.replace("_", " "), part.get("sessions"), tuple(rows), tuple(p for p in pairs if p[1]))


def _pair(pair: Mapping[str, Any]) -> PairRow:
    p, difference = _number(pair.get("p")), _number(pair.get("difference"))
    low, high = _number(pair.get("low")), _number(pair.get("high"))
    verdict = "not measured"
    if p is not None and difference is not None:
        verdict = "tie" if p >= SIGNIFICANT else f"{pair['a'] if difference > 0 else pair['b']} better"
    return PairRow(
        a=pair["a"],
        b=pair["b"],
        difference=_UNKNOWN if difference is None else _signed(difference),
        interval=_UNKNOWN if low is None or high is None else f"{_signed(low)} to {_signed(high)}",
        p=_p_value(p),
        paired_p=_p_value(_number(pair.get("paired_p"))),
        verdict=verdict,
    )


def _best(part: Mapping[str, Any], metric: str, labels: list[str]) -> str | None:
    means = {label: _mean_and_spread((part["models"].get(label) or {}).get(metric))[0] for label in labels}
    known = {label: mean for label, mean in means.items() if mean is not None}
    return max(known, key=lambda label: known[label]) if known else None


def _ties(part: Mapping[str, Any], metric: str, best: str, label: str) -> bool:
    for pair in (part.get("pairs") or {}).get(metric) or ():
        if {pair["a"], pair["b"]} == {best, label} and best != label:
            p = _number(pair.get("p"))
            return p is not None and p >= SIGNIFICANT
    return False


def _mean_and_spread(value: Any) -> tuple[float | None, float | None]:
    if isinstance(value, Mapping):
        return _number(value.get("mean")), _number(value.get("std"))
    return _number(value), None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _signed(value: float) -> str:
    return f"{value:+.4f}".replace("-", "\N{MINUS SIGN}")


def _p_value(p: float | None) -> str:
    if p is None:
        return _UNKNOWN
    return "< 0.001" if p < 0.001 else f"{p:.2f}" if p >= 0.1 else f"{p:.3f}"


def _and(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
