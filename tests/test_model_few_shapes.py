"""Batches for XLA: few shapes, and the training that they give."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from random_run import random_run

from model.dataset import session_dataset
from model.training.few_shapes import few_shapes
from model.training.train import train
from pipeline.errors import InputError
from tiny_data import tiny_scenario, write_tiny_data


def test_padding_and_the_lack_of_texts_change_no_score_and_no_loss(tmp_path: Path) -> None:
    scenario = tiny_scenario(model={"name": "aw_moe"})
    run = random_run(scenario, tmp_path / "assets")
    data = write_tiny_data(tmp_path / "data", scenario, sessions=12)
    for batch in session_dataset(data.files("train"), scenario.features, run.preprocessing, batch_size=5):
        padded = few_shapes(batch, scenario.features)
        candidates = batch["candidate_label"].shape[1]
        assert padded["candidate_label"].shape[1] in (1, 2, 4)
        assert padded["behavior_item_id"].shape[1] in (1, 2, 4, 8)
        assert not any(tensor.dtype == tf.string for tensor in padded.values())
        np.testing.assert_allclose(run.model(padded)[:, :candidates], run.model(batch), rtol=1e-5, atol=1e-5)
        assert float(run.model.compute_loss(padded)) == pytest.approx(float(run.model.compute_loss(batch)), rel=1e-5)


@pytest.mark.parametrize(("longest", "power"), [(1, 1), (2, 2), (3, 4), (5, 8), (8, 8)])
def test_sizes_are_powers_of_2_and_lists_have_their_greatest_length(longest: int, power: int) -> None:
    features = tiny_scenario().features
    batch = {
        "behavior_item_id": tf.ones([2, longest], tf.int32),
        "candidate_tags": tf.ones([2, longest, 1], tf.int32),
        "candidate_count": tf.constant([longest, 1], tf.int64),
        "query_category": tf.ones([2], tf.int32),
    }
    padded = few_shapes(batch, features)
    assert padded["behavior_item_id"].shape == (2, power)
    assert padded["candidate_tags"].shape == (2, power, 3)
    assert padded["candidate_count"].shape == padded["query_category"].shape == (2,)
    assert tf.reduce_sum(padded["candidate_tags"]) == 2 * longest


@pytest.mark.slow
@pytest.mark.skipif("AWMOE_TEST_XLA" not in os.environ, reason="compiles for a minute: AWMOE_TEST_XLA=1 runs it")
def test_xla_trains_as_without_it(tmp_path: Path) -> None:
    histories = []
    for xla in (False, True):
        training = {"xla": xla, "epochs": 2, "batch_size": 8, "dense_learning_rate": 0.01}
        scenario = tiny_scenario(model={"name": "aw_moe"}, training=training)
        data = write_tiny_data(tmp_path / f"data-{xla}", scenario, sessions=8)  # one batch: one shape to compile
        histories.append(train(scenario, data, tmp_path / f"run-{xla}", verbose=0))
    plain, compiled = histories
    for name, values in plain.items():
        np.testing.assert_allclose(compiled[name], values, atol=1e-4, err_msg=name)


def test_it_is_refused_for_several_replicas(tmp_path: Path) -> None:
    scenario = tiny_scenario(training={"xla": True})
    devices = [f"/job:localhost/replica:0/task:0/device:CPU:{index}" for index in range(2)]
    two = tf.distribute.MirroredStrategy(devices)
    with pytest.raises(InputError, match=r"training\.xla: is for one device"):
        train(scenario, write_tiny_data(tmp_path / "data", scenario, sessions=4), tmp_path / "run", strategy=two)
