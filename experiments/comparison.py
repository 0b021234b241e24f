"""What a comparison of models found, as `comparison.json` holds it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from model.session_metrics import PAPER_METRICS
from pipeline.errors import InputError

COMPARISON = "comparison.json"
#: The part of all test sessions.
FULL = "full"


@dataclass(frozen=True)
class Summary:
    """A number over seeds; `std` (n - 1) is None where there is one seed, or none as of a ranking without training."""

    mean: float | None
    std: float | None = None


@dataclass(frozen=True)
class MetricSummary(Summary):
    """A session metric over seeds; `sessions` is how many have it, a mean over seeds."""

    sessions: float = 0


@dataclass(frozen=True)
class Pair:
    """One metric of label `a` less that of label `b`, or of a ranking without training.

    Attributes:
        a: the later of two labels.
        b: the earlier one, or the reference.
        difference: of the means in the table.
        low: lower end of its 95% interval, over sessions and seeds; None with a single seed.
        high: its upper end.
        p: two-sided, over sessions and seeds (`difference_test`); None with a single seed.
        paired_p: the paper's, over sessions alone; blind to seeds, and no evidence by itself.
    """

    a: str
    b: str
    difference: float
    low: float | None
    high: float | None
    p: float | None
    paired_p: float


@dataclass(frozen=True)
class PartComparison:
    """Everything about one part of the test sessions.

    Attributes:
        sessions: those that count: they have bought and not bought candidates.
        models: metrics by label.
        pairs: by metric, every pair of labels.
        references: metrics of rankings without training: `popularity` and `displayed` where the scenario names
            them, and `oracle` where the truth is known.
        covered: by label, the share of the way from popularity's AUC to the oracle's.
        margins: by metric, every label less every reference.
        beyond_full: by metric, every pair's difference in this part less that in `full`, with its own test: whether
            what a model gains, it gains here above all. None in `full`.
    """

    sessions: int
    models: dict[str, dict[str, MetricSummary]]
    pairs: dict[str, list[Pair]]
    references: dict[str, dict[str, MetricSummary]] = field(default_factory=dict)
    covered: dict[str, float] = field(default_factory=dict)
    margins: dict[str, list[Pair]] = field(default_factory=dict)
    beyond_full: dict[str, list[Pair]] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelSummary:
    """What a label's models cost: weights outside and inside embedding tables, seconds of `fit`."""

    dense_parameters: int
    table_parameters: int
    training_seconds: Summary


@dataclass(frozen=True)
class Comparison:
    """Models of several labels, each with the same seeds, on the same test sessions.

    Attributes:
        kind: the command that made it: `compare`, `ablate`, `gates` or `losses`.
        labels: in the order that tables show.
        seeds: of every label.
        parts: `full`, and the scenario's slices by name.
        models: by label.
    """

    kind: str
    labels: tuple[str, ...]
    seeds: tuple[int, ...]
    parts: dict[str, PartComparison]
    models: dict[str, ModelSummary]

    @property
    def shown_metrics(self) -> tuple[str, ...]:
        """The paper's; and the reciprocal rank, by which a page's order is judged, where that order is known."""
        return (*PAPER_METRICS, *self._of_pages)

    @property
    def margin_metrics(self) -> tuple[str, ...]:
        """Those of `shown_metrics` in which tables show margins: one over all pairs, and what counts the top."""
        return ("auc", "ndcg_at_10", *self._of_pages)

    @property
    def _of_pages(self) -> tuple[str, ...]:
        return ("mrr",) if any("displayed" in part.references for part in self.parts.values()) else ()

    @property
    def pairs_of_interest(self) -> list[tuple[str, str]]:
        """Each label against its predecessor and against the first, as (a, b)."""
        first, *others = self.labels
        pairs = []
        for predecessor, label in zip(self.labels, others, strict=False):
            pairs.append((label, predecessor))
            if predecessor != first:
                pairs.append((label, first))
        return pairs

    def write(self, experiment: Path) -> Path:
        """Writes `comparison.json` into an experiment's directory."""
        path = experiment / COMPARISON
        path.write_text(json.dumps(asdict(self), indent=2, allow_nan=False) + "\n", encoding="utf-8")
        return path

    @classmethod
    def read(cls, experiment: Path, kind: str) -> Comparison:
        """Reads what `write` wrote.

        Args:
            experiment: the directory.
            kind: that it must be of.

        Raises:
            InputError: there is none, it is damaged, or of another kind; says which command makes it.
        """
        path = experiment / COMPARISON
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
            comparison = cls(
                raw["kind"],
                tuple(raw["labels"]),
                tuple(raw["seeds"]),
                {name: _part(part) for name, part in raw["parts"].items()},
                {
                    label: ModelSummary(**{**model, "training_seconds": Summary(**model["training_seconds"])})
                    for label, model in raw["models"].items()
                },
            )
        except FileNotFoundError:
            raise InputError(f"{path}: is not there; `awmoe {kind} --output {experiment}` makes it") from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{path}: is damaged ({error}); run `awmoe {kind}` again") from None
        if comparison.kind != kind:
            raise InputError(f"{experiment}: is of `awmoe {comparison.kind}`; name the directory of `awmoe {kind}`")
        return comparison


def _part(raw: dict[str, Any]) -> PartComparison:
    def metrics(rankings: dict[str, Any]) -> dict[str, dict[str, MetricSummary]]:
        return {
            name: {metric: MetricSummary(**summary) for metric, summary in ranking.items()}
            for name, ranking in rankings.items()
        }

    def pairs(by_metric: dict[str, Any]) -> dict[str, list[Pair]]:
        return {metric: [Pair(**pair) for pair in pairs] for metric, pairs in by_metric.items()}

    return PartComparison(
        raw["sessions"],
        metrics(raw["models"]),
        pairs(raw["pairs"]),
        metrics(raw["references"]),
        dict(raw["covered"]),
        pairs(raw["margins"]),
        pairs(raw["beyond_full"]),
    )
