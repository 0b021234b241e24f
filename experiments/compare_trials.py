"""Finished trials to a comparison."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pyarrow as pa

from experiments.comparison import Comparison, MetricSummary, ModelSummary, Pair, PartComparison
from experiments.linearised import linearised
from experiments.over_seeds import over_seeds
from experiments.significance import difference_test, paired_p_over_sessions_alone
from experiments.trial import TrialResult
from model.evaluate import with_truth
from model.session_metrics import SESSION_METRICS
from model.session_values import RANKINGS, Values, session_numbers, session_values
from pipeline.errors import InputError

_SAME = ("session_id", "item_id", "label")
_SLICE = "slice_"


def compare_trials(
    results: Iterable[TrialResult], labels: Sequence[str], *, kind: str = "compare", truth: Path | None = None
) -> Comparison:
    """Compares the models of several labels on the test sessions.

    A model's metric is the mean over the sessions where it is defined, as `awmoe evaluate`
    reports it, then over seeds. AUC@10 is not defined where the ten best candidates of a model are
    of one class, which mostly means that the bought one is not among them: such a session is left
    out of that model's mean alone, and `sessions` says how many are left. (NDCG@10 is 0 there; where
    the two disagree, NDCG@10 is the one that counts the miss.) Differences are of these means,
    and their tests account for the sessions left out (`linearised`).

    Args:
        results: finished trials of one experiment; those of other labels are ignored.
        labels: what to compare, in order: a baseline first.
        kind: as of `Comparison`.
        truth: Parquet file of true purchase probabilities, as of `awmoe evaluate`; adds the oracle.

    Raises:
        InputError: a label has no trial or other seeds than the first; trials were scored on other
            data; or the truth is of another log.
    """
    of_label = {label: [result for result in results if result.facts.label == label] for label in labels}
    seeds = _seeds(of_label)
    first = of_label[labels[0]][0].scores()
    sessions = session_numbers(first)
    references = _references(first if truth is None else with_truth(first, truth), sessions)
    values = {
        label: [session_values(_same(result, first), sessions) for result in trials]
        for label, trials in of_label.items()
    }
    parts = {}
    for name, chosen in _parts(first, sessions).items():
        part = _part(
            {label: [_pick(seed, chosen) for seed in of_seeds] for label, of_seeds in values.items()},
            {name: _pick(reference, chosen) for name, reference in references.items()},
        )
        parts[name] = part if chosen.all() else replace(part, beyond_full=_beyond_full(values, chosen))
    return Comparison(kind, tuple(labels), seeds, parts, {label: _model(of_label[label]) for label in labels})


def _seeds(of_label: dict[str, list[TrialResult]]) -> tuple[int, ...]:
    seeds = {label: tuple(sorted(result.facts.seed for result in trials)) for label, trials in of_label.items()}
    expected = next(iter(seeds.values()))
    for label, of_this in seeds.items():
        if not of_this:
            raise InputError(f"`{label}` has no finished trial")
        if of_this != expected:
            raise InputError(f"`{label}` was trained with the seeds {of_this}, `{next(iter(seeds))}` with {expected}")
    return expected


def _same(result: TrialResult, first: pa.Table) -> pa.Table:
    scores = result.scores()
    if len(scores) != len(first) or not all(scores[column].equals(first[column]) for column in _SAME):
        raise InputError(f"{result.directory}: was scored on other test sessions than the trials beside it")
    return scores


def _references(candidates: pa.Table, sessions: np.ndarray) -> dict[str, Values]:
    return {
        ranking: session_values(candidates, sessions, column)
        for ranking, column in RANKINGS.items()
        if ranking != "model" and column in candidates.column_names
    }


def _parts(candidates: pa.Table, sessions: np.ndarray) -> dict[str, np.ndarray]:
    """Which sessions belong to each part, `[n]`."""
    _, rows = np.unique(sessions, return_index=True)
    parts = {"full": np.ones(len(rows), bool)}
    for column in candidates.column_names:
        if column.startswith(_SLICE):
            parts[column.removeprefix(_SLICE)] = candidates[column].to_numpy()[rows]
    return parts


def _pick(values: Values, chosen: np.ndarray) -> Values:
    return {metric: of_sessions[chosen] for metric, of_sessions in values.items()}


def _part(models: dict[str, list[Values]], references: dict[str, Values]) -> PartComparison:
    """One part, of metrics by label and seed, and by reference, on its sessions alone."""
    # AUC is defined where a session has both classes, whatever the model
    counted = np.isfinite(next(iter(models.values()))[0]["auc"])
    arrays = {
        metric: {label: np.stack([seed[metric][counted] for seed in seeds]) for label, seeds in models.items()}
        for metric in SESSION_METRICS
    }
    ranked = {
        metric: {name: values[metric][counted][np.newaxis] for name, values in references.items()}
        for metric in SESSION_METRICS
    }
    of_references = {
        name: {metric: _summary(ranked[metric][name]) for metric in SESSION_METRICS} for name in references
    }
    of_models = {label: {metric: _summary(arrays[metric][label]) for metric in SESSION_METRICS} for label in models}
    return PartComparison(
        sessions=int(counted.sum()),
        models=of_models,
        pairs={metric: _pairs(_testable(of_labels)) for metric, of_labels in arrays.items()},
        references=of_references,
        covered=_covered(of_models, of_references),
        margins={metric: _margins(of_labels, ranked[metric]) for metric, of_labels in arrays.items()},
    )


def _summary(values: np.ndarray) -> MetricSummary:
    """Of `[seeds, sessions]`."""
    finite = np.isfinite(values)
    if not finite.any(axis=1).all():
        return MetricSummary(None, None, float(finite.sum(axis=1).mean()))
    over = over_seeds(np.nanmean(values, axis=1).tolist())
    return MetricSummary(over.mean, over.std, float(finite.sum(axis=1).mean()))


def _pairs(values: dict[str, np.ndarray]) -> list[Pair]:
    """All pairs, the later label less the earlier one, of values that are all finite."""
    return [_pair(a, b, values[a], values[b]) for b, a in combinations(values, 2)]


def _margins(models: dict[str, np.ndarray], references: dict[str, np.ndarray]) -> list[Pair]:
    """All labels less all references, which are the same whatever the seed."""
    tested, others = _testable(models), _testable(references)
    return [
        _pair(a, b, model, np.repeat(other, len(model), axis=0))
        for b, other in others.items()
        for a, model in tested.items()
    ]


def _beyond_full(values: dict[str, list[Values]], chosen: np.ndarray) -> dict[str, list[Pair]]:
    """All pairs, of what a model has more on the chosen sessions than on all."""
    counted = np.isfinite(next(iter(values.values()))[0]["auc"])
    beyond: dict[str, list[Pair]] = {}
    for metric in SESSION_METRICS:
        on_all = {label: np.stack([seed[metric][counted] for seed in seeds]) for label, seeds in values.items()}
        # a session that is not chosen is one that lacks the metric: its mean, and how that varies, are of the others
        on_part = _testable({label: np.where(chosen[counted], model, np.nan) for label, model in on_all.items()})
        beyond[metric] = _pairs({label: of_part - linearised(on_all[label]) for label, of_part in on_part.items()})
    return beyond


def _testable(values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """`linearised` values of the labels that have the metric in some session."""
    return {
        label: linearised(model)
        for label, model in values.items()
        if model.shape[1] > 1 and np.isfinite(model).any(axis=1).all()
    }


def _pair(a: str, b: str, first: np.ndarray, second: np.ndarray) -> Pair:
    paired = paired_p_over_sessions_alone(first, second)
    if len(first) < 2:
        return Pair(a, b, float(first.mean() - second.mean()), None, None, None, paired)
    test = difference_test(first, second)
    return Pair(a, b, test.difference, test.low, test.high, test.p, paired)


def _covered(
    models: dict[str, dict[str, MetricSummary]], references: dict[str, dict[str, MetricSummary]]
) -> dict[str, float]:
    if not {"popularity", "oracle"} <= references.keys():
        return {}
    low, high = references["popularity"]["auc"].mean, references["oracle"]["auc"].mean
    if low is None or high is None or high <= low:
        return {}
    means = {label: metrics["auc"].mean for label, metrics in models.items()}
    return {label: (mean - low) / (high - low) for label, mean in means.items() if mean is not None}


def _model(trials: Sequence[TrialResult]) -> ModelSummary:
    seconds = over_seeds([result.facts.training_seconds for result in trials])
    facts = trials[0].facts
    return ModelSummary(facts.dense_parameters, facts.table_parameters, seconds)
