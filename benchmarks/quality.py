"""Quality of the five models, beside peers of other libraries that see the same features.

    python -m benchmarks.quality --output quality --json
    python -m benchmarks.quality --output quality-fast --fast --json      one seed, small, under 10 minutes

Data sets: `simulated` (configs/search.yaml on a simulated log of 20,000 users), `amazon_search` (Beauty) and
`trivago`, whose raw files are expected under `--raw`. Models have one number of dense weights; peers are
LightGBM with settings that a search found (benchmarks/peers/lightgbm_settings.json, else in this run) and
DeepCTR's DIN with fixed ones (benchmarks/peers/deepctr_din.py).
What was done stays in the output directory and is not done again. The last line is JSON: `datasets`, by name,
each with `auc` and `ndcg_at_10` by model, their `spread` over seeds, `p_values` by pair, over seeds and
sessions (experiments/significance.py), `margins` over rankings without training: difference and the
ends of its 95% interval, and `beyond_full`: by slice and pair, how much more the difference is there than for all,
the ends of its interval and its p. What needs several seeds is null with one.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.quiet_tensorflow import quiet_tensorflow

with quiet_tensorflow():
    from rich.console import Console

    from benchmarks.peers import deepctr_din, lightgbm_ranker
    from benchmarks.peers.candidate_table import CandidateTable, candidate_table
    from benchmarks.peers.run_peer import run_peer
    from benchmarks.quality_data import DATASETS, QualityData, quality_data
    from experiments.compare import MODELS, compare
    from experiments.compare_trials import compare_trials
    from experiments.comparison import Comparison, Pair
    from experiments.comparison_tables import comparison_tables
    from experiments.trial import check_data, read_trials

PEERS = ("lightgbm", "deepctr_din")
_METRICS = ("auc", "ndcg_at_10", "mrr")


def measure(quality: QualityData, output: Path, *, seeds: int, peers: bool, minutes: float, jobs: int) -> Comparison:
    """Trains models and peers and compares them; goes on where it was stopped.

    Args:
        quality: the data set.
        output: the experiment's directory.
        seeds: of every model and peer.
        peers: whether they are compared too.
        minutes: for the search of LightGBM's settings where none are stored.
        jobs: models trained at the same time.
    """
    compare(quality.scenario, quality.data, output, models=MODELS, seeds=seeds, jobs=jobs, truth=quality.truth)
    if peers:
        _run_peers(quality, output, seeds, minutes=minutes, threads=2)
    labels = (*(PEERS if peers else ()), *MODELS)
    return compare_trials(read_trials(output, range(1, seeds + 1)), labels, truth=quality.truth)


def _run_peers(quality: QualityData, output: Path, seeds: int, *, minutes: float, threads: int) -> None:
    trials = read_trials(output, range(1, seeds + 1))
    ours = next(trial for trial in trials if trial.facts.label == MODELS[-1])
    done = [trial for trial in trials if trial.facts.label in PEERS]
    for trial in done:
        check_data(trial, quality.data)
    if len(done) == seeds * len(PEERS):
        return
    candidates = ours.scores()
    train, validation, test = (
        candidate_table(quality.data, quality.scenario, part) for part in ("train", "validation", "test")
    )
    trees = _tree_settings(quality.scenario.name, train, validation, output, minutes=minutes, threads=threads)
    units = deepctr_din.equal_units(quality.scenario, train, ours.facts.dense_parameters)
    for seed in range(1, seeds + 1):
        fits = {
            "lightgbm": partial(
                lightgbm_ranker.fit_and_score, trees, train, validation, test, seed=seed, threads=threads
            ),
            "deepctr_din": partial(
                deepctr_din.fit_and_score, {"units": units}, quality.scenario, train, validation, test, seed=seed
            ),
        }
        for label, fit in fits.items():
            run_peer(label, seed, output, quality.data, candidates, fit)


def _tree_settings(
    scenario: str, train: CandidateTable, validation: CandidateTable, output: Path, *, minutes: float, threads: int
) -> dict[str, Any]:
    """Those stored for the scenario; else those that a search finds, which are kept beside the trials."""
    if settings := lightgbm_ranker.stored_settings(scenario):
        return settings
    path = output / "lightgbm_settings.json"
    if not path.exists():
        found = lightgbm_ranker.tune(train, validation, minutes=minutes, threads=threads)
        path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return dict(json.loads(path.read_text(encoding="utf-8")))


def summary(comparison: Comparison) -> dict[str, Any]:
    """A data set's part of the last line."""
    full = comparison.parts["full"]
    models = {**full.references, **full.models}
    result: dict[str, Any] = {metric: {label: models[label][metric].mean for label in models} for metric in _METRICS}
    result["spread"] = {
        label: {metric: of_model[metric].std for metric in _METRICS} for label, of_model in full.models.items()
    }
    result["p_values"] = _by_pair(full.pairs, lambda pair: pair.p)
    result["margins"] = _by_pair(full.margins, lambda margin: [margin.difference, margin.low, margin.high])
    result["beyond_full"] = {
        name: _by_pair(part.beyond_full, lambda pair: [pair.difference, pair.low, pair.high, pair.p])
        for name, part in comparison.parts.items()
        if part.beyond_full
    }
    if full.covered:
        result["share_of_the_way_to_the_oracle"] = full.covered
    return result


def _by_pair(pairs: Mapping[str, list[Pair]], value: Callable[[Pair], Any]) -> dict[str, dict[str, Any]]:
    by_pair: dict[str, dict[str, Any]] = {}
    for metric in _METRICS:
        for pair in pairs[metric]:
            by_pair.setdefault(f"{pair.a} - {pair.b}", {})[metric] = value(pair)
    return by_pair


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {text}")
    return number


def _minutes(text: str) -> float:
    number = float(text)
    if not number > 0:
        raise argparse.ArgumentTypeError(f"must be above 0, not {text}")
    return number


def main() -> None:
    """Runs the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("quality"), help="directory for data and trials")
    parser.add_argument("--raw", type=Path, default=Path("../shared/data"), help="directory of the raw data sets")
    parser.add_argument("--datasets", nargs="+", choices=DATASETS, default=list(DATASETS))
    parser.add_argument("--seeds", type=_positive, default=5)
    parser.add_argument("--jobs", type=_positive, default=2, help="trials at the same time")
    parser.add_argument(
        "--search-minutes", type=_minutes, default=12, help="for LightGBM's settings, where none are stored"
    )
    parser.add_argument("--no-peers", action="store_true", help="our own models alone")
    parser.add_argument("--fast", action="store_true", help="one seed at a small size")
    parser.add_argument("--json", action="store_true", help="no tables")
    arguments = parser.parse_args()

    try:
        results = _measure_all(arguments)
    except InputError as error:
        parser.error(str(error))
    print(json.dumps({"datasets": results}, allow_nan=False))


def _measure_all(arguments: argparse.Namespace) -> dict[str, Any]:
    results = {}
    for name in arguments.datasets:
        # the small variant is other data: neither may go on with the other's
        output = arguments.output / (f"{name}-fast" if arguments.fast else name)
        output.mkdir(parents=True, exist_ok=True)
        quality = quality_data(name, arguments.raw, output, fast=arguments.fast)
        comparison = measure(
            quality,
            output / "experiment",
            seeds=1 if arguments.fast else arguments.seeds,
            peers=not arguments.no_peers,
            minutes=0.3 if arguments.fast else arguments.search_minutes,
            jobs=arguments.jobs,
        )
        comparison.write(output / "experiment")
        results[name] = summary(comparison)
        if not arguments.json:
            for table in comparison_tables(comparison):
                Console().print(table)
    return results


if __name__ == "__main__":
    main()
