"""A comparison of trials with random scores, against slow and obvious references."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console
from scipy import stats
from sklearn.metrics import roc_auc_score

from experiments.compare_trials import compare_trials
from experiments.comparison import COMPARISON, Comparison
from experiments.comparison_tables import comparison_tables
from experiments.linearised import linearised
from experiments.number_text import interval, signed
from experiments.significance import difference_test
from experiments.trial import FACTS, SCORES, read_trials
from model.session_metrics import SESSION_METRICS
from pipeline.errors import InputError

LABELS = ("weak", "middle", "strong")
STRENGTH = {"weak": 0.2, "middle": 0.8, "strong": 1.6}
SEEDS = (1, 2, 3)
SESSIONS = 90


def candidates() -> pd.DataFrame:
    """Test candidates with a true probability; lists of 2 to 24, some of one class."""
    rng = np.random.default_rng(0)
    sizes = rng.integers(2, 25, SESSIONS)
    session = np.repeat(np.arange(SESSIONS), sizes)
    utility = rng.normal(-2.5, 1.5, len(session))
    probability = 1 / (1 + np.exp(-utility))
    return pd.DataFrame(
        {
            "session_id": np.char.add("s", session.astype(str)),
            "item_id": np.char.add("i", np.arange(len(session)).astype(str)),
            "label": (rng.random(len(session)) < probability).astype(np.int8),
            "utility": utility,
            "probability": probability,
            "popularity": np.where(rng.random(len(session)) < 0.1, np.nan, utility + rng.normal(0, 5, len(session))),
            "slice_few": session % 3 == 0,
            "slice_none": np.zeros(len(session), bool),
        }
    )


def write_table(rows: pd.DataFrame, path: Path) -> None:
    # plain lists, of which Arrow makes the types that `predict` writes
    pq.write_table(pa.table({name: rows[name].tolist() for name in rows}), path)


def write_trial(experiment: Path, label: str, seed: int, scores: pd.DataFrame) -> None:
    directory = experiment / "trials" / label / f"seed-{seed}"
    directory.mkdir(parents=True)
    write_table(scores, directory / SCORES)
    size = {"dense_parameters": 100, "table_parameters": 7, "training_seconds": 10.0 * seed, "epochs": 1, "data": "x"}
    (directory / FACTS).write_text(json.dumps({"label": label, "seed": seed, **size}))


def scored(label: str, seed: int) -> pd.DataFrame:
    rows = candidates()
    rng = np.random.default_rng([seed, LABELS.index(label)])
    # rounded: some scores are tied
    rows["score"] = np.round(STRENGTH[label] * rows["utility"] + rng.normal(0, 1, len(rows)), 1)
    return rows.drop(columns=["utility", "probability"])


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("experiment")
    for label in LABELS:
        for seed in SEEDS:
            write_trial(directory, label, seed, scored(label, seed))
    write_trial(directory, "another", 1, scored("weak", 1))
    truth = candidates()[["session_id", "item_id", "probability"]].sample(frac=1, random_state=0)
    write_table(truth, directory / "truth.parquet")
    return directory


@pytest.fixture(scope="module")
def comparison(experiment: Path) -> Comparison:
    return compare_trials(read_trials(experiment), LABELS, truth=experiment / "truth.parquet")


def auc_by_session(rows: pd.DataFrame, column: str, top: int | None = None) -> np.ndarray:
    """AUC of each session that has both classes; NaN where its `top` best have not."""
    values = []
    for _, session in rows.groupby("session_id", sort=False):
        if session["label"].nunique() == 2:
            shown = session.assign(score=session[column].fillna(-1e9))
            if top:
                shown = shown.sort_values("score", ascending=False, kind="stable").head(top)
            both = shown["label"].nunique() == 2
            values.append(roc_auc_score(shown["label"], shown["score"]) if both else np.nan)
    return np.array(values)


@pytest.mark.parametrize("part", ["full", "few"])
def test_means_and_spreads_are_those_of_the_seeds(part: str, comparison: Comparison) -> None:
    found = comparison.parts[part]
    for label in LABELS:
        of_seeds = [scored(label, seed) for seed in SEEDS]
        of_seeds = [rows[rows["slice_few"]] if part == "few" else rows for rows in of_seeds]
        for metric, top in (("auc", None), ("auc_at_10", 10)):
            values = [auc_by_session(rows, "score", top) for rows in of_seeds]
            means = [np.nanmean(value) for value in values]
            summary = found.models[label][metric]
            assert summary.mean == pytest.approx(np.mean(means))
            assert summary.std == pytest.approx(np.std(means, ddof=1))
            assert summary.sessions == pytest.approx(np.mean([np.isfinite(value).sum() for value in values]))
            assert found.sessions == len(values[0])
    assert 0 < found.sessions < SESSIONS, "some sessions have one class"
    assert found.models["weak"]["auc_at_10"].sessions < found.sessions, "of some, the ten best have one class"


def test_pairs_are_tested_over_seeds_and_sessions(comparison: Comparison) -> None:
    values = {label: np.stack([auc_by_session(scored(label, s), "score") for s in SEEDS]) for label in LABELS}
    pairs = {(pair.a, pair.b): pair for pair in comparison.parts["full"].pairs["auc"]}
    assert set(pairs) == {("middle", "weak"), ("strong", "weak"), ("strong", "middle")}
    for (a, b), pair in pairs.items():
        expected = difference_test(values[a], values[b])
        assert pair.difference == pytest.approx(expected.difference)
        assert (pair.low, pair.high, pair.p) == pytest.approx((expected.low, expected.high, expected.p))
        assert pair.paired_p == pytest.approx(stats.ttest_rel(values[a].mean(axis=0), values[b].mean(axis=0)).pvalue)
    assert (pairs["strong", "weak"].p or 1) < 0.05


def test_margins_over_a_ranking_without_training_know_the_seeds(comparison: Comparison) -> None:
    values = np.stack([auc_by_session(scored("middle", s), "score") for s in SEEDS])
    popularity = auc_by_session(candidates(), "popularity")
    margins = {(pair.a, pair.b): pair for pair in comparison.parts["full"].margins["auc"]}
    assert set(margins) == {(label, reference) for label in LABELS for reference in ("popularity", "oracle")}
    margin = margins["middle", "popularity"]
    assert margin.difference == pytest.approx(values.mean() - popularity.mean())
    assert margin.low is not None
    assert margin.high is not None
    width = margin.high - margin.low
    over_sessions = (values - popularity).mean(axis=0).std(ddof=1) / len(popularity) ** 0.5
    assert width >= 2 * stats.t.ppf(0.975, len(popularity) - 1) * over_sessions * (1 - 1e-9)


def test_differences_are_those_of_the_means_even_where_sessions_lack_the_metric(comparison: Comparison) -> None:
    for part in ("full", "few"):
        for metric in SESSION_METRICS:
            means = {label: metrics[metric].mean for label, metrics in comparison.parts[part].models.items()}
            for pair in comparison.parts[part].pairs[metric]:
                assert (means[pair.a] or 0) - (means[pair.b] or 0) == pytest.approx(pair.difference)


def test_popularity_the_oracle_and_the_way_between(comparison: Comparison) -> None:
    full = comparison.parts["full"]
    rows = candidates()
    low, high = (auc_by_session(rows, column).mean() for column in ("popularity", "probability"))
    assert full.references["popularity"]["auc"].mean == pytest.approx(low)
    assert full.references["oracle"]["auc"].mean == pytest.approx(high)
    mean = full.models["middle"]["auc"].mean
    assert mean is not None
    assert full.covered["middle"] == pytest.approx((mean - low) / (high - low))
    assert full.covered["weak"] < full.covered["middle"] < full.covered["strong"]


def test_a_slice_without_sessions_has_no_numbers(comparison: Comparison) -> None:
    none = comparison.parts["none"]
    assert none.sessions == 0
    assert none.models["weak"]["auc"].mean is None
    assert none.pairs["auc"] == none.margins["auc"] == []
    assert none.covered == {}


def test_the_file_is_json_that_reads_back_equal(comparison: Comparison, tmp_path: Path) -> None:
    comparison.write(tmp_path)
    assert Comparison.read(tmp_path, comparison.kind) == comparison
    raw = json.loads((tmp_path / COMPARISON).read_text())
    assert raw["seeds"] == [1, 2, 3]
    assert raw["models"]["weak"] == {
        "dense_parameters": 100,
        "table_parameters": 7,
        "training_seconds": {"mean": 20.0, "std": 10.0},
    }
    (tmp_path / COMPARISON).write_text("{}")
    with pytest.raises(InputError, match=r"comparison\.json: is damaged"):
        Comparison.read(tmp_path, "compare")
    with pytest.raises(InputError, match="is not there; `awmoe compare --output"):
        Comparison.read(tmp_path / "none", "compare")


def test_tables_show_every_part_and_pair(comparison: Comparison) -> None:
    console = Console(width=180)
    with console.capture() as capture:
        for table in comparison_tables(comparison):
            console.print(table)
    shown = capture.get()
    strong = comparison.parts["few"].models["strong"]["ndcg"]
    assert f"{strong.mean:.4f} ±{strong.std:.4f}" in shown
    assert comparison.pairs_of_interest == [("middle", "weak"), ("strong", "middle"), ("strong", "weak")]
    assert "oracle" in shown
    assert "None" not in shown
    assert "nan" not in shown


def test_margins_are_shown_and_reciprocal_rank_where_the_order_of_a_page_is_known(comparison: Comparison) -> None:
    def shown(of: Comparison, width: int = 180) -> str:
        console = Console(width=width)
        with console.capture() as capture:
            for table in comparison_tables(of):
                console.print(table)
        return capture.get()

    assert "MRR" not in shown(comparison)
    margin = next(m for m in comparison.parts["full"].margins["auc"] if (m.a, m.b) == ("weak", "popularity"))
    numbers = f"{re.escape(signed(margin.difference))} +{re.escape(interval(margin.low, margin.high))}"
    assert re.search(rf"over popularity +\n +weak +{numbers} ", shown(comparison))

    full = comparison.parts["full"]
    of_pages = {"popularity": full.references["popularity"], "displayed": full.references["oracle"]}
    margins = {
        metric: [replace(m, b=m.b.replace("oracle", "displayed")) for m in full.margins[metric]]
        for metric in full.margins
    }
    paged = replace(comparison, parts={"full": replace(full, references=of_pages, covered={}, margins=margins)})
    assert (paged.shown_metrics[-1], paged.margin_metrics) == ("mrr", ("auc", "ndcg_at_10", "mrr"))
    assert f"{full.models['weak']['mrr'].mean:.4f}" in shown(paged)
    mrr = next(m for m in margins["mrr"] if (m.a, m.b) == ("strong", "displayed"))
    assert signed(mrr.difference) in shown(paged)
    small = shown(paged, width=80)
    assert "…" not in small, "a number is cut on a small terminal"
    assert small.count("MRR") == 3, "a column is left out on a small terminal"


def test_with_one_seed_there_is_no_spread_and_no_test(experiment: Path) -> None:
    results = [result for result in read_trials(experiment) if result.facts.seed == 1]
    full = compare_trials(results, ["weak", "strong"]).parts["full"]
    assert full.models["weak"]["auc"].std is None
    (pair,) = full.pairs["auc"]
    assert (pair.low, pair.high, pair.p) == (None, None, None)
    assert 0 < pair.paired_p < 1
    assert set(full.references) == {"popularity"}
    assert full.covered == {}


def test_what_does_not_go_together_is_refused(experiment: Path, tmp_path: Path) -> None:
    results = read_trials(experiment)
    with pytest.raises(InputError, match="`missing` has no finished trial"):
        compare_trials(results, ["weak", "missing"])
    with pytest.raises(InputError, match=r"`another` was trained with the seeds \(1,\), `weak` with \(1, 2, 3\)"):
        compare_trials(results, ["weak", "another"])
    write_trial(tmp_path, "a", 1, scored("weak", 1))
    write_trial(tmp_path, "b", 1, scored("weak", 1).iloc[:-1])
    with pytest.raises(InputError, match="was scored on other test sessions"):
        compare_trials(read_trials(tmp_path), ["a", "b"])


def test_linearised_values_have_the_mean_and_the_error_of_those_that_are_defined() -> None:
    rng = np.random.default_rng(0)
    hard = rng.random((2000, 200)) < 0.3
    # undefined more often where the metric is low, as AUC@10 is
    values = np.where(
        rng.random(hard.shape) < np.where(hard, 0.5, 0.1), np.nan, rng.normal(0.8, 0.1, hard.shape) - 0.3 * hard
    )
    z = linearised(values)
    assert np.allclose(z.mean(axis=1), np.nanmean(values, axis=1))
    errors = z.std(axis=1, ddof=1) / 200**0.5
    assert errors.mean() == pytest.approx(np.nanmean(values, axis=1).std(), rel=0.05)
    whole = rng.random((3, 5))
    assert np.allclose(linearised(whole), whole)


def test_what_a_part_gains_beyond_all_has_a_test_of_its_own(comparison: Comparison) -> None:
    assert comparison.parts["full"].beyond_full == {}
    full, few = comparison.parts["full"], comparison.parts["few"]
    for metric in SESSION_METRICS:
        pairs = zip(few.beyond_full[metric], few.pairs[metric], full.pairs[metric], strict=True)
        for beyond, in_part, in_all in pairs:
            assert (beyond.a, beyond.b) == (in_part.a, in_part.b) == (in_all.a, in_all.b)
            assert beyond.difference == pytest.approx(in_part.difference - in_all.difference)
            assert beyond.low is not None
            assert beyond.high is not None
            assert beyond.low < beyond.difference < beyond.high


def test_a_gain_in_one_part_alone_is_found_and_an_equal_gain_is_not(tmp_path: Path) -> None:
    """One model ranks better for all, another in the part alone: sessions by the hundred, three seeds."""
    rng = np.random.default_rng(3)
    sessions, items = 600, 8
    rows = pd.DataFrame(
        {
            "session_id": np.repeat([f"s{i}" for i in range(sessions)], items),
            "item_id": [f"i{i}" for i in range(sessions * items)],
            "label": np.tile(np.arange(items) == 0, sessions).astype(np.int8),
            "slice_few": np.repeat(np.arange(sessions) % 3 == 0, items),
        }
    )
    gains = {"base": 0.0, "all": 0.8, "part": 0.8 * rows["slice_few"]}
    for label, gain in gains.items():
        for seed in SEEDS:
            scores = (0.5 + gain) * rows["label"] + rng.normal(0, 1, len(rows))
            write_trial(tmp_path, label, seed, rows.assign(score=scores))
    few = compare_trials(read_trials(tmp_path), list(gains)).parts["few"]
    p = {(pair.a, pair.b): pair.p for pair in few.beyond_full["auc"]}
    assert p["part", "base"] is not None
    assert p["part", "base"] < 1e-3
    assert p["all", "base"] is not None
    assert p["all", "base"] > 0.05
