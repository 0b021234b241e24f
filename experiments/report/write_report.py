"""An experiment's report: one HTML page that needs nothing beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import comb
from pathlib import Path

import jinja2
import numpy as np
import pyarrow as pa

from experiments.comparison import Comparison
from experiments.number_text import mean_and_spread
from experiments.over_seeds import over_seeds
from experiments.report.calibration import Calibration, calibration, draw_calibration, no_calibration
from experiments.report.case import find_case
from experiments.report.case_view import CaseView, case_view
from experiments.report.expert_use import draw_expert_use, expert_use
from experiments.report.feature_importance import draw_feature_importance, feature_importance, shuffled_features
from experiments.report.figure import Drawing
from experiments.report.gate_map import draw_gate_map, place_gates, why_no_map
from experiments.report.palette import PALETTE
from experiments.report.sample import read_sample
from experiments.report.score_distribution import draw_score_distribution
from experiments.report.scorer import Scorer
from experiments.report.sweep_figure import draw_sweep
from experiments.report.tables import PartTable, SizeRow, headline, part_tables, size_rows
from experiments.report.training_curves import draw_training_curves
from experiments.report.user_groups import (
    Groups,
    behavior_groups,
    category_groups,
    slice_groups,
    target_groups,
)
from experiments.sweep_result import Sweep
from experiments.trial import TrialResult, check_data, read_trials
from model.session_values import session_numbers
from pipeline.config import Training
from pipeline.errors import InputError
from pipeline.prepared_data import PreparedData

TEMPLATE = "page.html.j2"
#: Whose model the figures look into, where the experiment has it; else its last.
_DEFAULT_LABEL = "aw_moe_cl"
_FIGURE_7 = (
    "Figure 7 (t-SNE): new users form a cluster of their own, and old ones part by whether they had bought "
    "the target item before."
)


@dataclass(frozen=True)
class ComparisonSection:
    """Tables of one comparison: its id on the page, title, what it is about, its rows, and how many pairs it has."""

    name: str
    title: str
    about: str
    parts: list[PartTable]
    sizes: list[SizeRow]
    pair_count: int

    @property
    def covered(self) -> bool:
        """Whether an oracle is known."""
        return any(row.covered for part in self.parts for row in part.rows)


@dataclass(frozen=True)
class CalibrationRow:
    """A model's calibration over its seeds, as text."""

    label: str
    error: str
    log_loss: str
    brier: str


@dataclass
class Report:
    """What the page shows.

    Attributes:
        left_out: what is not in the report, and the command that would bring it.
        drawings: by section.
    """

    scenario: str
    labels: list[str]
    seeds: list[int]
    label: str
    seed: int
    test_sessions: int
    sample_sessions: int
    headline: str
    comparisons: list[ComparisonSection] = field(default_factory=list)
    drawings: dict[str, list[Drawing]] = field(default_factory=dict)
    calibrations: list[CalibrationRow] = field(default_factory=list)
    case: CaseView | None = None
    left_out: list[tuple[str, str]] = field(default_factory=list)


def write_report(
    experiment: Path,
    data: PreparedData,
    output: Path,
    *,
    ablation: Path | None = None,
    gates: Path | None = None,
    losses: Path | None = None,
    sweep: Path | None = None,
    label: str | None = None,
    sessions: int = 1500,
    repeats: int = 3,
    seed: int = 17,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Report:
    """Writes the page.

    Args:
        experiment: what `awmoe compare` wrote, with its trials.
        data: what the trials were trained on.
        output: the HTML file.
        ablation: what `awmoe ablate` wrote.
        gates: what `awmoe gates` wrote.
        losses: what `awmoe losses` wrote.
        sweep: what `awmoe sweep` wrote.
        label: whose model the figures look into, of its first seed.
        sessions: test sessions that are looked into.
        repeats: permutations of a feature.
        seed: of the sample, the permutations and the map.
        progress: told how much is done, of how much.

    Raises:
        InputError: a directory lacks what its command writes, there is no such label, or the
            trials are of other data.
    """
    comparison = Comparison.read(experiment, "compare")
    given = {"ablate": ablation, "gates": gates, "losses": losses}
    others = {kind: Comparison.read(path, kind) for kind, path in given.items() if path}
    settings = Sweep.read(sweep) if sweep else None
    trials = _trials(experiment, comparison, data)
    models = {name: results for name, results in trials.items() if all(result.has_run for result in results)}
    label = _chosen_label(label, list(models), experiment)
    trial = trials[label][0]
    run = trial.run()
    data.check_features(run.scenario)

    raw = read_sample(data, run.scenario, sessions, seed)
    report = Report(
        scenario=run.scenario.name,
        labels=list(trials),
        seeds=sorted({result.facts.seed for results in trials.values() for result in results}),
        label=label,
        seed=trial.facts.seed,
        test_sessions=data.sessions("test"),
        sample_sessions=len(raw["candidate_count"]),
        headline=headline(comparison),
    )
    report.comparisons = [_section(each) for each in (comparison, *others.values())]
    report.drawings["training"] = draw_training_curves(
        {name: [result.history() for result in results] for name, results in models.items()}
    )
    report.drawings["scores"] = _score_drawings(trial.scores(), label, run.scenario.training)
    report.calibrations = [
        _calibration_row(name, results) for name, results in trials.items() if results[0].scores_are_probabilities
    ]

    scorer = Scorer(run)
    encoded = scorer.encode(raw)
    groups = category_groups(run.scenario.features, raw)
    importances = feature_importance(
        scorer.logits,
        encoded,
        raw["candidate_label"],
        shuffled_features(run.scenario.features, encoded),
        groups,
        repeats=repeats,
        seed=seed,
        progress=progress,
    )
    report.drawings["importance"] = [draw_feature_importance(importances, groups, label)]

    parts = scorer.parts(encoded)
    counts = raw["candidate_count"]
    session_gates = parts.gates.sum(axis=1) / np.maximum(counts, 1)[:, np.newaxis]
    by_behaviors = behavior_groups(run.scenario, raw)
    report.drawings["gates"] = _gate_maps(session_gates, target_groups(raw), by_behaviors, label, seed)
    use = expert_use(parts, counts, {**by_behaviors, **slice_groups(run.scenario, raw)})
    report.drawings["experts"] = draw_expert_use(use, label)
    report.drawings["sweep"] = [draw_sweep(settings)] if settings else []
    case = find_case(scorer, run.scenario.features, raw, seed)
    report.case = case_view(case, run.scenario.features) if case else None

    report.left_out = [
        (what, command)
        for what, command, there in (
            ("the gate's ablation (Table VI)", "awmoe ablate, then --ablation", ablation),
            ("forms of the gate compared", "awmoe gates, then --gates", gates),
            ("losses compared", "awmoe losses, then --losses", losses),
            ("settings of the contrastive loss (Figure 8)", "awmoe sweep, then --sweep", sweep),
            ("two users with one query", "more test sessions: no two users of the sample have one query", case),
        )
        if there is None
    ]
    output.write_text(_page(report), encoding="utf-8")
    return report


def _trials(experiment: Path, comparison: Comparison, data: PreparedData) -> dict[str, list[TrialResult]]:
    """Finished trials by label, in the comparison's order."""
    found: dict[str, list[TrialResult]] = {}
    for result in read_trials(experiment, comparison.seeds):
        check_data(result, data)
        found.setdefault(result.facts.label, []).append(result)
    ordered = {label: found[label] for label in comparison.labels if label in found}
    if not ordered:
        raise InputError(f"{experiment}: has no finished trials; `awmoe compare --output {experiment}` makes them")
    return ordered


def _chosen_label(label: str | None, labels: Sequence[str], experiment: Path) -> str:
    if label is None:
        return _DEFAULT_LABEL if _DEFAULT_LABEL in labels else labels[-1]
    if label not in labels:
        raise InputError(f"{experiment}: has no models of `{label}`; it has {', '.join(labels)}")
    return label


def _section(comparison: Comparison) -> ComparisonSection:
    title, about = {
        "compare": ("Models", "The paper's Tables II to V compare the same five models."),
        "ablate": (
            "What the gate's units are worth",
            "The paper's Table VI: without and with gate and activation unit.",
        ),
        "gates": ("Forms of the gate", "AW-MoE with eq. 8 as it is, and with gates that start near 1/K."),
        "losses": ("Losses", "One model trained with each ranking loss; the paper has the pointwise one."),
    }[comparison.kind]
    pairs = comb(len(comparison.labels), 2)
    return ComparisonSection(comparison.kind, title, about, part_tables(comparison), size_rows(comparison), pairs)


def _score_drawings(candidates: pa.Table, label: str, training: Training) -> list[Drawing]:
    labels, scores = candidates["label"].to_numpy(), candidates["score"].to_numpy()
    probabilities = training.scores_are_probabilities
    if probabilities:
        first = draw_calibration(_calibration(candidates), label)
    else:
        first = no_calibration(label, training.loss)
        sessions = session_numbers(candidates)
        scores = scores - (np.bincount(sessions, scores) / np.bincount(sessions))[sessions]
    return [first, draw_score_distribution(labels, scores, label, probabilities=probabilities)]


def _calibration(candidates: pa.Table) -> Calibration:
    return calibration(candidates["label"].to_numpy(), candidates["score"].to_numpy())


def _calibration_row(label: str, results: list[TrialResult]) -> CalibrationRow:
    of_seeds = [_calibration(result.scores()) for result in results]
    return CalibrationRow(
        label,
        mean_and_spread(over_seeds([c.error for c in of_seeds])),
        mean_and_spread(over_seeds([c.log_loss for c in of_seeds])),
        mean_and_spread(over_seeds([c.brier for c in of_seeds])),
    )


def _gate_maps(gates: np.ndarray, targets: Groups, behaviors: Groups, label: str, seed: int) -> list[Drawing]:
    if why := why_no_map(gates):
        return [Drawing("gate-targets", f"Figure 7: gates by user group ({label})", "", instead=why)]
    places, method = place_gates(gates, seed)
    titles = {
        "gate-targets": f"Figure 7: gates of new and old users ({label})",
        "gate-behaviors": f"The same gates by number of behaviours ({label})",
    }
    return [
        draw_gate_map("gate-targets", titles["gate-targets"], gates, places, method, targets, _FIGURE_7),
        draw_gate_map("gate-behaviors", titles["gate-behaviors"], gates, places, method, behaviors),
    ]


def _page(report: Report) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(TEMPLATE).render(report=report, palette=PALETTE)
