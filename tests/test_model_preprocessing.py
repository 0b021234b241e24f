"""Raw values to ids, numbers and fingerprints."""

from __future__ import annotations

import resource
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from model.preprocessing import MAX_DEVIATIONS, Preprocessing
from pipeline.encoding_assets import EncodingAssets
from pipeline.features import Categorical, Features, MultiCategorical, Table
from tiny_data import VOCABULARY_SIZE, random_raw_sessions, tiny_scenario, write_tiny_data

SCENARIO = tiny_scenario()


@pytest.fixture(scope="module")
def preprocessing(tmp_path_factory: pytest.TempPathFactory) -> Preprocessing:
    data = write_tiny_data(tmp_path_factory.mktemp("data"), SCENARIO, sessions=4)
    return Preprocessing(SCENARIO.features, data.assets(SCENARIO.features))


def encode(preprocessing: Preprocessing, name: str, values: list) -> dict[str, np.ndarray]:
    return {key: value.numpy() for key, value in preprocessing({name: tf.constant(values)}).items()}


def test_shapes_and_dtypes(preprocessing: Preprocessing) -> None:
    raw = random_raw_sessions(SCENARIO, batch=3, behaviors=5, candidates=4, seed=0)
    encoded = preprocessing({name: tf.constant(values) for name, values in raw.items()})
    for feature in SCENARIO.features.encoded:
        assert encoded[feature.name].shape[: raw[feature.name].ndim] == raw[feature.name].shape, feature.name
        assert encoded[feature.name].dtype == (tf.int32 if feature.table else tf.float32), feature.name
        if feature.table:
            assert int(tf.reduce_max(encoded[feature.name])) < preprocessing.table_rows[feature.table], feature.name
    np.testing.assert_array_equal(encoded["behavior_count"], raw["behavior_count"])
    assert np.isfinite(np.concatenate([np.ravel(v) for v in encoded.values() if v.dtype == tf.float32])).all()


def test_rows_are_missing_then_out_of_vocabulary_then_vocabulary(preprocessing: Preprocessing) -> None:
    rows = encode(preprocessing, "candidate_item_id", [["", "item_0", "item_11", "no such item"]])["candidate_item_id"]
    assert preprocessing.table_rows["item"] == 1 + 2 + VOCABULARY_SIZE
    assert rows[0, :3].tolist() == [0, 3, 3 + 11]
    assert rows[0, 3] in (1, 2)


def test_unknown_values_spread_over_the_buckets(preprocessing: Preprocessing) -> None:
    unknown = [[f"new {i}" for i in range(50)]]
    assert set(encode(preprocessing, "candidate_item_id", unknown)["candidate_item_id"].ravel()) == {1, 2}
    assert set(encode(preprocessing, "candidate_tags", unknown)["candidate_tags"].ravel()) == set(range(1, 9))


def test_multi_values_are_split_cut_and_padded(preprocessing: Preprocessing) -> None:
    rows = encode(preprocessing, "query_terms", ["term_1  term_0", "", "term_2"])["query_terms"]
    assert rows.tolist() == [[3, 2], [0, 0], [4, 0]]
    tags = encode(preprocessing, "candidate_tags", [["a|b|c|d|e", ""]])["candidate_tags"]
    assert tags.shape == (1, 2, 3)  # max_values
    assert (tags[0, 0] > 0).all()
    assert tags[0, 1].tolist() == [0, 0, 0]


def test_a_text_of_very_many_values_takes_room_for_those_that_count(preprocessing: Preprocessing) -> None:
    texts = ["a " * 300_000, *["b"] * 299]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert encode(preprocessing, "query_terms", texts)["query_terms"].shape[0] == 300
    taken = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert taken < 200_000, f"{taken} KiB: a place for each of 300 x 300,000 would be 350,000"


def test_only_missing_multi_values(preprocessing: Preprocessing) -> None:
    assert encode(preprocessing, "query_terms", ["", " "])["query_terms"].tolist() == [[0], [0]]


@given(
    texts=st.lists(st.text("ab|\\ ", max_size=12), min_size=1, max_size=5),
    separator=st.sampled_from([" ", "|", "\\", "|a", "aa"]),
)
@settings(max_examples=40)
def test_multi_values_are_those_of_a_slow_split(texts: list[str], separator: str) -> None:
    features = Features(
        tables={"term": Table(hash_buckets=1000)},
        item={"item_id": Categorical(kind="categorical", table="term")},
        query={"terms": MultiCategorical(kind="multi_categorical", table="term", separator=separator, max_values=4)},
    )
    preprocessing = Preprocessing(features, EncodingAssets(Path(), {}, {}))
    rows = preprocessing({"query_terms": tf.constant(texts)})["query_terms"].numpy()
    for row, text in zip(rows, texts, strict=True):
        values = [value for value in text.split(separator) if value][:4]
        expected = [1 + int(tf.strings.to_hash_bucket_fast(value, 1000)) for value in values]
        assert [number for number in row if number] == expected, text


def test_numbers_are_logged_standardised_and_safe(preprocessing: Preprocessing) -> None:
    values = [[0.0, 9.0, -5.0, float("nan"), float("inf"), 3e38]]
    encoded = encode(preprocessing, "candidate_price", values)
    np.testing.assert_allclose(
        encoded["candidate_price"][0], [-3.5, np.log(10) - 3.5, -3.5, 0, 0, MAX_DEVIATIONS], rtol=1e-6
    )
    np.testing.assert_allclose(
        encoded["candidate_price/log"][0], [0, np.log(10), 0, -1, -1, np.log(np.float32(3e38))], rtol=1e-6
    )


def test_an_optional_number_has_an_indicator(preprocessing: Preprocessing) -> None:
    encoded = encode(preprocessing, "candidate_rating", [[79.0, float("nan")]])
    np.testing.assert_allclose(encoded["candidate_rating"], [[1.0, 0.0]], rtol=1e-6)
    assert encoded["candidate_rating/missing"].tolist() == [[0.0, 1.0]]


def test_buckets_are_rows(preprocessing: Preprocessing) -> None:
    weights = [[-1.0, 25.0, 60.0, 1e9, float("nan")]]  # boundaries 25, 50, 75
    assert encode(preprocessing, "candidate_weight", weights)["candidate_weight"].tolist() == [[1, 2, 3, 4, 0]]
    assert preprocessing.table_rows["item_weight"] == 5


def test_fingerprints_tell_unknown_values_apart(preprocessing: Preprocessing) -> None:
    candidates = encode(preprocessing, "candidate_brand", [["new a", "new b", ""]])["candidate_brand/fingerprint"]
    behaviors = encode(preprocessing, "behavior_brand", [["new a", "new b", ""]])["behavior_brand/fingerprint"]
    assert len(set(candidates.ravel())) == 3
    assert candidates[0, 2] == 0
    np.testing.assert_array_equal(candidates, behaviors)


def test_an_empty_vocabulary_has_no_known_value(tmp_path: Path) -> None:
    data = write_tiny_data(tmp_path, SCENARIO, sessions=4)
    (tmp_path / "vocabularies" / "brand.txt").write_text("")
    empty = Preprocessing(SCENARIO.features, data.assets(SCENARIO.features))
    assert empty.table_rows["brand"] == 2
    assert encode(empty, "candidate_brand", [["brand_0", ""]])["candidate_brand"].tolist() == [[1, 0]]


def test_a_saved_graph_carries_its_vocabularies(preprocessing: Preprocessing, tmp_path: Path) -> None:
    values = tf.constant([["item_3", "other", ""]])
    module = tf.Module()
    module.preprocessing = preprocessing
    module.encode = tf.function(
        lambda ids: preprocessing({"candidate_item_id": ids})["candidate_item_id"],
        input_signature=[tf.TensorSpec([None, None], tf.string)],
    )
    tf.saved_model.save(module, str(tmp_path / "saved"))
    (tmp_path / "saved").rename(tmp_path / "moved")
    assert (tmp_path / "moved" / "assets" / "item.txt").exists()
    np.testing.assert_array_equal(tf.saved_model.load(str(tmp_path / "moved")).encode(values), module.encode(values))
