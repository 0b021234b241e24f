"""The outside rivals: their table is what our models see, and they learn, by seed."""

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from benchmarks.peers import deepctr_din, lightgbm_ranker
from benchmarks.peers.candidate_table import CandidateTable, candidate_table
from benchmarks.peers.mean_session_auc import mean_session_auc
from model.cross_features import CrossFeatures
from model.dataset import raw_dataset
from model.predict import predict
from model.preprocessing import Preprocessing
from model.run_directory import new_run
from pipeline.config import Scenario
from pipeline.prepared_data import PreparedData
from tiny_data import tiny_scenario, write_tiny_data

Tables = tuple[CandidateTable, CandidateTable, CandidateTable]

LIGHTGBM = {
    "objective": "binary",
    "categories": "all",
    "learning_rate": 0.1,
    "num_leaves": 7,
    "min_data_in_leaf": 10,
    "feature_fraction": 0.5,
    "bagging_fraction": 0.7,
    "lambda_l2": 1.0,
    "cat_smooth": 5.0,
    "cat_l2": 1.0,
    "min_data_per_group": 10,
}
DIN = {"units": [16, 8], "attention": [8], "behaviors": 4, "batch_size": 64, "learning_rate": 0.02, "epochs": 4}


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return tiny_scenario()


@pytest.fixture(scope="module")
def data(scenario: Scenario, tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    return write_tiny_data(tmp_path_factory.mktemp("tiny"), scenario, sessions=400)


@pytest.fixture(scope="module")
def tables(data: PreparedData, scenario: Scenario) -> Tables:
    return (
        candidate_table(data, scenario, "train"),
        candidate_table(data, scenario, "validation"),
        candidate_table(data, scenario, "test"),
    )


def encoded_sessions(data: PreparedData, scenario: Scenario) -> dict[str, np.ndarray]:
    """All test sessions as one batch, in order of the files."""
    preprocessing = Preprocessing(scenario.features, data.assets(scenario.features))
    (raw,) = list(raw_dataset(data.files("test"), scenario.features, batch_size=1000))
    batch = {**preprocessing(raw), "candidate_label": raw["candidate_label"]}
    mask = tf.sequence_mask(batch["behavior_count"], batch["behavior_item_id"].shape[1])
    batch["cross"] = CrossFeatures(scenario.features)(batch, mask)
    return {name: tensor.numpy() for name, tensor in batch.items()}


def test_rows_are_those_of_predict(data: PreparedData, scenario: Scenario, tables: Tables) -> None:
    run = new_run(scenario, data.assets(scenario.features))
    predicted, test = predict(run, data.files("test")), tables[2]
    assert test.session_ids.take(pa.array(test.sessions)) == predicted["session_id"].combine_chunks()
    assert test.item_ids == predicted["item_id"].combine_chunks()
    np.testing.assert_array_equal(test.labels, predicted["label"])
    np.testing.assert_array_equal(test.column("behavior_count"), predicted["behavior_count"])
    assert test.columns.shape == (len(predicted), len(test.names))


def test_cross_features_are_those_of_the_layer(data: PreparedData, scenario: Scenario, tables: Tables) -> None:
    batch, test = encoded_sessions(data, scenario), tables[2]
    real = np.arange(batch["cross"].shape[1]) < batch["candidate_count"][:, None]
    matches = [f"same_{field}/{number}" for field in ("item", "brand") for number in ("count", "recency", "place")]
    names = (*matches, "price_ratio")
    for index, name in enumerate(names):
        np.testing.assert_allclose(test.column(name), batch["cross"][..., index][real], rtol=1e-6, atol=1e-6)
    assert np.ptp(test.column("same_brand/recency")) > 0


def test_features_are_those_of_preprocessing(data: PreparedData, scenario: Scenario, tables: Tables) -> None:
    batch, test = encoded_sessions(data, scenario), tables[2]
    real = np.arange(batch["candidate_label"].shape[1]) < batch["candidate_count"][:, None]
    for name in ("candidate_item_id", "candidate_brand", "candidate_price", "candidate_item_purchases"):
        np.testing.assert_allclose(test.column(name), batch[name][real], rtol=1e-6)
    rating, missing = batch["candidate_rating"][real], batch["candidate_rating/missing"][real] == 1
    np.testing.assert_allclose(test.column("candidate_rating"), np.where(missing, np.nan, rating), rtol=1e-6)
    assert missing.any()
    np.testing.assert_array_equal(test.column("user_age_group"), batch["user_age_group"][test.sessions])
    np.testing.assert_array_equal(test.lists["query_terms"], batch["query_terms"])
    np.testing.assert_array_equal(test.lists["candidate_tags"], batch["candidate_tags"][real])
    assert set(test.categorical) >= {"candidate_item_id", "query_terms", "query_terms/1", "behavior_brand/newest"}
    assert "candidate_weight" not in test.categorical


def test_behaviors_are_summed_up_without_padding(data: PreparedData, scenario: Scenario, tables: Tables) -> None:
    batch, test = encoded_sessions(data, scenario), tables[2]
    counts = batch["behavior_count"]
    for session in range(20):
        row, count = int(np.flatnonzero(test.sessions == session)[0]), int(counts[session])
        ages = batch["behavior_age_days"][session, :count]
        expected = (ages.mean(), ages[0]) if count else (np.nan, np.nan)
        names = ("behavior_age_days/mean", "behavior_age_days/newest")
        np.testing.assert_allclose([test.column(name)[row] for name in names], expected, rtol=1e-6)
        assert test.column("behavior_brand/newest")[row] == (batch["behavior_brand"][session, 0] if count else 0)
        assert not test.lists["behavior_brand"][session, count:].any()


def test_a_list_has_one_code_whatever_the_batch_s_padding(tables: Tables) -> None:
    codes: dict[tuple[int, ...], set[float]] = {}
    for table in tables:
        for terms, code in zip(table.lists["query_terms"][table.sessions], table.column("query_terms"), strict=True):
            codes.setdefault(tuple(terms[terms != 0]), set()).add(float(code))
    assert all(len(found) == 1 for found in codes.values())
    assert len({code for found in codes.values() for code in found}) == len(codes)


def test_a_sample_keeps_whole_sessions(tables: Tables) -> None:
    table = tables[0]
    sample = table.sample(0.25, seed=3)
    assert len(sample.session_ids) == len(table.session_ids) // 4
    old = np.array([table.session_ids.index(session_id).as_py() for session_id in sample.session_ids])
    rows = np.isin(table.sessions, old)
    np.testing.assert_array_equal(sample.columns, table.columns[rows])
    np.testing.assert_array_equal(old[sample.sessions], table.sessions[rows])
    assert sample.item_ids == table.item_ids.filter(pa.array(rows))
    np.testing.assert_array_equal(sample.lists["query_terms"], table.lists["query_terms"][old])
    np.testing.assert_array_equal(sample.lists["candidate_tags"], table.lists["candidate_tags"][rows])


def test_lightgbm_learns_and_differs_by_seed(tables: Tables) -> None:
    first, again, other = (lightgbm_ranker.fit_and_score(LIGHTGBM, *tables, seed=seed) for seed in (1, 1, 2))
    test = tables[2]
    assert first.scores.shape == test.labels.shape
    assert first.scores.dtype == np.float64
    assert np.isfinite(first.scores).all()
    assert mean_session_auc(test, first.scores) > 0.7
    np.testing.assert_array_equal(first.scores, again.scores)
    assert np.abs(first.scores - other.scores).max() > 1e-3
    assert first.facts["trees"] > 0


@pytest.mark.parametrize("categories", ["all", "no_items", "none"])
def test_lightgbm_takes_the_columns_it_is_told(tables: Tables, categories: str) -> None:
    settings = {**LIGHTGBM, "objective": "lambdarank", "categories": categories}
    auc = mean_session_auc(tables[2], lightgbm_ranker.fit_and_score(settings, *tables, seed=1).scores)
    assert auc > 0.7 if categories == "all" else auc < 0.7  # whether it is bought depends on the item alone


@pytest.mark.parametrize("scenario", ["search", "amazon_search", "trivago"])
def test_stored_settings_are_all_that_a_search_finds(scenario: str) -> None:
    stored = lightgbm_ranker.stored_settings(scenario)
    assert stored is not None
    assert stored.keys() == LIGHTGBM.keys()
    assert lightgbm_ranker.stored_settings("tiny") is None


def test_lightgbm_is_tuned_within_its_trials(tables: Tables) -> None:
    train, validation, test = tables
    settings = lightgbm_ranker.tune(train, validation, trials=3, minutes=0.2, share=0.8)
    assert settings.keys() == LIGHTGBM.keys()
    scores = lightgbm_ranker.fit_and_score(settings, train, validation, test, seed=1).scores
    assert np.isfinite(scores).all()


def test_din_learns_and_differs_by_seed(scenario: Scenario, tables: Tables) -> None:
    first, again, other = (deepctr_din.fit_and_score(DIN, scenario, *tables, seed=seed) for seed in (1, 1, 2))
    test = tables[2]
    assert first.scores.shape == test.labels.shape
    assert first.scores.dtype == np.float64
    assert np.isfinite(first.scores).all()
    assert mean_session_auc(test, first.scores) > 0.65
    np.testing.assert_allclose(first.scores, again.scores, rtol=1e-5)
    assert np.abs(first.scores - other.scores).max() > 1e-3
    assert 0 < first.facts["epochs"] <= 4
    assert first.facts["cut_share"] == np.mean(test.behavior_counts > 4).round(4)
