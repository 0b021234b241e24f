"""LightGBM on the table of candidates: the rival that knows no embeddings.

    python -m benchmarks.peers.lightgbm_ranker --data data/beauty-prepared --minutes 12

searches the settings of prepared data with Optuna and prints them as JSON. `lightgbm_settings.json` keeps
those that were found for a scenario of `configs/`, how, and what they reached.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import optuna

from benchmarks.peers.peer_scores import PeerScores
from pipeline.prepared_data import PreparedData
from pipeline.quiet_tensorflow import quiet_tensorflow
from pipeline.scenario_file import load_scenario

with quiet_tensorflow():
    from benchmarks.peers.candidate_table import CandidateTable, candidate_table
    from benchmarks.peers.mean_session_auc import mean_session_auc

Settings = dict[str, Any]

_STORED = Path(__file__).with_name("lightgbm_settings.json")
#: Trees between two looks at the validation part.
_TREES_A_LOOK = 10
#: Looks without a better one after which it stops.
_PATIENCE = 8
_MOST_TREES = 3_000
#: Settings that are not LightGBM's own.
_OWN = ("categories",)
#: A search starts from these, so that it is no worse than a sensible guess.
_FIRST_GUESS: Settings = {
    "learning_rate": 0.05,
    "num_leaves": 31,
    "min_data_in_leaf": 200,
    "feature_fraction": 0.7,
    "bagging_fraction": 0.8,
    "lambda_l2": 1.0,
    "cat_smooth": 50.0,
    "cat_l2": 10.0,
    "min_data_per_group": 100,
}
_FIRST_GUESSES: tuple[Settings, ...] = (
    {"objective": "binary", "categories": "no_items", **_FIRST_GUESS},
    {"objective": "lambdarank", "categories": "all", **_FIRST_GUESS},
)


def stored_settings(scenario: str) -> Settings | None:
    """Settings for `fit_and_score` that were found for a scenario of `configs/`, by its name; None where none were."""
    stored = json.loads(_STORED.read_text(encoding="utf-8"))
    return dict(stored[scenario]["settings"]) if scenario in stored else None


def tune(
    train: CandidateTable,
    validation: CandidateTable,
    *,
    trials: int = 60,
    minutes: float = 12,
    share: float = 0.25,
    finalists: int = 2,
    seed: int = 17,
    threads: int = 1,
) -> Settings:
    """Settings for `fit_and_score`, found with Optuna (TPE) by the session AUC of the validation part.

    Trials train on a share of the sessions. The best ones are then fitted to all of them, since more data
    allows more leaves, and the best of these is taken.

    Args:
        trials: at most so many.
        minutes: after so many it starts no further trial; the finalists come on top.
        share: of the training sessions that a trial sees.
        finalists: trials that are fitted to all sessions.
        seed: of the search and of the sample.
        threads: of LightGBM.

    Returns:
        A dict that JSON holds.
    """
    sample = train.sample(share, seed) if share < 1 else train
    longest = 60 * minutes / 8  # one slow trial must not take the time of all others

    def objective(trial: optuna.Trial) -> float:
        settings = _suggest(trial)
        _, _, best = _fit(settings, sample, validation, seed=seed, threads=threads, seconds=longest)
        return best

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=8))
    for guess in _FIRST_GUESSES:
        study.enqueue_trial(guess)
    study.optimize(objective, n_trials=trials, timeout=60 * minutes, callbacks=[_tell])
    done = [trial for trial in study.get_trials() if trial.value is not None]
    best_first = sorted(done, key=lambda trial: -_value(trial))
    settings = [dict(trial.params) for trial in best_first[:finalists]]
    if len(settings) == 1 or share == 1:
        return settings[0]
    reached = [_fit(candidate, train, validation, seed=seed, threads=threads)[2] for candidate in settings]
    print(f"finalists on all sessions: {', '.join(f'{auc:.4f}' for auc in reached)}", file=sys.stderr, flush=True)
    return settings[int(np.argmax(reached))]


def fit_and_score(
    settings: Mapping[str, Any],
    train: CandidateTable,
    validation: CandidateTable,
    test: CandidateTable,
    *,
    seed: int,
    threads: int = 1,
) -> PeerScores:
    """Fits trees, as many as the validation part likes best, and scores the test part.

    Args:
        settings: as `tune` gives them.
        seed: of the rows and columns that each tree sees.
        threads: of LightGBM.

    Returns:
        Raw scores; facts `trees`, `training_seconds`, `cpu_seconds` (of all threads), `validation_session_auc`.
    """
    started, cpu_started = time.perf_counter(), time.process_time()
    booster, trees, best = _fit(settings, train, validation, seed=seed, threads=threads)
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    scores = booster.predict(_matrix(settings, test), num_iteration=trees, raw_score=True, num_threads=threads)
    facts = {
        "trees": trees,
        "training_seconds": round(seconds, 1),
        "cpu_seconds": round(cpu_seconds, 1),
        "validation_session_auc": round(best, 5),
    }
    return PeerScores(np.asarray(scores, np.float64), facts)


def _suggest(trial: optuna.Trial) -> Settings:
    return {
        "objective": trial.suggest_categorical("objective", ["binary", "lambdarank", "rank_xendcg"]),
        "categories": trial.suggest_categorical("categories", ["all", "no_items", "none"]),
        "learning_rate": trial.suggest_float("learning_rate", 0.02, 0.2, log=True),
        "num_leaves": trial.suggest_int("num_leaves", 7, 255, log=True),
        "min_data_in_leaf": trial.suggest_int("min_data_in_leaf", 20, 2000, log=True),
        "feature_fraction": trial.suggest_float("feature_fraction", 0.3, 1.0),
        "bagging_fraction": trial.suggest_float("bagging_fraction", 0.4, 0.95),
        "lambda_l2": trial.suggest_float("lambda_l2", 1e-2, 100, log=True),
        "cat_smooth": trial.suggest_float("cat_smooth", 5, 500, log=True),
        "cat_l2": trial.suggest_float("cat_l2", 1, 200, log=True),
        "min_data_per_group": trial.suggest_int("min_data_per_group", 20, 1000, log=True),
    }


def _fit(
    settings: Mapping[str, Any],
    train: CandidateTable,
    validation: CandidateTable,
    *,
    seed: int,
    threads: int,
    seconds: float = float("inf"),
) -> tuple[lgb.Booster, int, float]:
    """A booster, how many of its trees are best for the validation part, and their session AUC there."""
    names = _names(settings, train)
    parameters = {
        "max_bin": 127,
        "bagging_freq": 1,
        "lambdarank_truncation_level": 30,
        **{name: value for name, value in settings.items() if name not in _OWN},
        "seed": seed,
        "deterministic": True,
        "force_col_wise": True,
        "num_threads": threads,
        "metric": "None",
        "verbosity": -1,
    }
    shared: dict[str, Any] = {
        "feature_name": names,
        "categorical_feature": [name for name in names if name in train.categorical],
        "params": parameters,
    }
    rows = lgb.Dataset(_matrix(settings, train), train.labels, group=np.bincount(train.sessions), **shared)
    looked_at = lgb.Dataset(_matrix(settings, validation), validation.labels, reference=rows, **shared)
    booster = lgb.Booster(parameters, rows)
    booster.add_valid(looked_at, "validation")

    def session_auc(scores: np.ndarray, _: lgb.Dataset) -> tuple[str, float, bool]:
        return "session_auc", mean_session_auc(validation, scores), True

    best_trees, best = 0, -np.inf
    deadline = time.perf_counter() + seconds
    for tree in range(1, _MOST_TREES + 1):
        finished = booster.update()  # no further split helps
        if tree % _TREES_A_LOOK and not finished:
            continue
        auc = booster.eval_valid(session_auc)[0][2]
        if auc > best:
            best_trees, best = tree, auc
        if finished or tree - best_trees >= _PATIENCE * _TREES_A_LOOK or time.perf_counter() > deadline:
            break
    return booster, best_trees, float(best)


def _names(settings: Mapping[str, Any], table: CandidateTable) -> list[str]:
    """The columns that take part: all, those without item ids, or the numbers alone."""
    if settings["categories"] == "all":
        return list(table.names)
    if settings["categories"] == "none":
        return [name for name in table.names if name not in table.categorical]
    return [name for name in table.names if name not in table.categorical or "item_id" not in name]


def _matrix(settings: Mapping[str, Any], table: CandidateTable) -> np.ndarray:
    return table.columns[:, [table.names.index(name) for name in _names(settings, table)]]


def _value(trial: optuna.trial.FrozenTrial) -> float:
    return -np.inf if trial.value is None else trial.value


def _tell(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
    """Progress goes to standard error, so that standard output holds the settings only."""
    values = ", ".join(f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in trial.params.items())
    print(
        f"trial {trial.number}: {_value(trial):.4f}, best {study.best_value:.4f}: {values}", file=sys.stderr, flush=True
    )


def main() -> None:
    """Searches the settings of prepared data from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="directory of prepared data")
    parser.add_argument("--trials", type=int, default=60, help="at most so many")
    parser.add_argument("--minutes", type=float, default=12, help="start no further trial after so many")
    parser.add_argument("--share", type=float, default=0.25, help="of the training sessions that a trial sees")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    data = PreparedData.open(arguments.data)
    scenario = load_scenario(data.scenario_path)
    train, validation = candidate_table(data, scenario, "train"), candidate_table(data, scenario, "validation")
    limits = {"trials": arguments.trials, "minutes": arguments.minutes, "share": arguments.share}
    print(json.dumps(tune(train, validation, threads=arguments.threads, **limits)))


if __name__ == "__main__":
    main()
