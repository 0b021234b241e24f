"""Embedding tables and the vectors of a group."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from model.embedding import Embedding
from model.random_numbers import RandomNumbers
from tiny_data import tiny_scenario

FEATURES = tiny_scenario().features
ROWS = {"item": 15, "brand": 14, "tag": 9, "term": 14, "age_group": 14, "action": 14, "item_weight": 5}
CANDIDATES = {
    "candidate_item_id": tf.constant([[3, 4]]),
    "candidate_brand": tf.constant([[2, 0]]),
    "candidate_tags": tf.constant([[[1, 2], [0, 0]]]),
    "candidate_price": tf.constant([[0.5, -0.5]]),
    "candidate_rating": tf.constant([[1.5, 0.0]]),
    "candidate_rating/missing": tf.constant([[0.0, 1.0]]),
    "candidate_weight": tf.constant([[1, 4]]),
    "candidate_item_purchases": tf.constant([[0.1, 0.2]]),
    "candidate_item_age": tf.constant([[0.3, 0.0]]),
    "candidate_item_age/missing": tf.constant([[0.0, 1.0]]),
}


def embedding(**options: float) -> Embedding:
    return Embedding(FEATURES, ROWS, 4, RandomNumbers(0), **options)


def test_a_group_is_concatenated_in_order() -> None:
    layer = embedding()
    tables = {name: table.numpy() for name, table in layer.tables.items()}
    expected = np.concatenate(
        [
            tables["item"][3], tables["brand"][2], (tables["tag"][1] + tables["tag"][2]) / 2,
            [0.5, 1.5, 0.0], tables["item_weight"][1], [0.1, 0.3, 0.0],
        ]
    )  # fmt: skip
    vectors = layer(CANDIDATES, FEATURES.candidate_features).numpy()
    np.testing.assert_allclose(vectors[0, 0], expected, rtol=1e-6)
    np.testing.assert_array_equal(vectors[0, 1, 8:11], 0)  # no tags


def test_a_table_is_shared_by_name_and_has_its_dimension() -> None:
    layer = embedding()
    assert sorted(layer.tables) == sorted(ROWS)
    assert layer.tables["tag"].shape == (9, 3)
    assert layer.tables["item"].shape == (15, 4)
    layer.tables["brand"].assign(tf.ones_like(layer.tables["brand"]))
    assert layer(CANDIDATES, FEATURES.candidate_features).numpy()[0, 0, 4:8].tolist() == [1, 1, 1, 1]


def test_gradients_of_tables_are_sparse() -> None:
    layer = embedding()
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(CANDIDATES, FEATURES.candidate_features) ** 2)
        loss += layer.looked_up_norm(EVERYTHING, MASKS)
    gradients = tape.gradient(loss, [layer.tables["item"], layer.tables["tag"]])
    assert all(isinstance(gradient, tf.IndexedSlices) for gradient in gradients)


BEHAVIORS = {name.replace("candidate", "behavior"): value for name, value in CANDIDATES.items()}
EVERYTHING = {
    **CANDIDATES,
    **BEHAVIORS,
    "behavior_item_id": tf.constant([[4, 9]]),
    "behavior_action": tf.constant([[2, 2]]),
    "query_terms": tf.constant([[0]]),
    "user_age_group": tf.constant([0]),
}
MASKS = {"behavior": tf.constant([[True, False]]), "candidate": tf.constant([[True, True]])}


def test_the_norm_is_of_distinct_real_rows_but_the_missing_one() -> None:
    layer = embedding()
    distinct = {"item": [3, 4], "brand": [2], "tag": [1, 2], "item_weight": [1, 4], "action": [2]}
    expected = sum((layer.tables[table].numpy()[rows] ** 2).sum() for table, rows in distinct.items())
    np.testing.assert_allclose(layer.looked_up_norm(EVERYTHING, MASKS), expected, rtol=1e-6)


def test_id_dropout_hides_items_in_training_only() -> None:
    layer = embedding(id_dropout=0.5)
    encoded = {name: tf.repeat(value, 500, axis=0) for name, value in CANDIDATES.items()}
    plain = layer(encoded, FEATURES.candidate_features).numpy()
    trained = layer(encoded, FEATURES.candidate_features, training=True).numpy()
    np.testing.assert_array_equal(trained[..., 4:], plain[..., 4:])
    changed = (trained[..., :4] != plain[..., :4]).any(axis=-1)
    assert changed.mean() == pytest.approx(0.5, abs=0.1)
    unknown = layer.tables["item"].numpy()[1:3]
    assert {tuple(row) for row in trained[changed][:, :4]} == {tuple(row) for row in unknown}
