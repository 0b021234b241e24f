"""Weights of candidates by class and place, against a slow loop, and from the records into the loss."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from experiment_data import experiment_scenario
from model.dataset import session_dataset
from model.ranking_loss import ranking_loss
from model.run_directory import new_run
from model.training.candidate_weights import candidate_weights
from pipeline.config import Propensity, Training
from tiny_data import write_tiny_data

POSITIONS = np.array([[1, 2, 3, 40], [0, np.nan, np.inf, 2]], np.float32)
LABELS = np.array([[1, 0, 1, 1], [1, 1, 1, 0]], np.float32)


def slow_weights(training: Training) -> list[list[float]]:
    weights = []
    for positions, labels in zip(POSITIONS.tolist(), LABELS.tolist(), strict=True):
        row = []
        for position, label in zip(positions, labels, strict=True):
            weight = 1.0
            if label:
                weight = training.positive_weight
                if training.propensity:
                    seen = 1 / max(position, 1) ** training.propensity.power if position == position else 1
                    weight *= min(1 / seen if seen else np.inf, training.propensity.max_weight)
            row.append(weight)
        weights.append(row)
    return weights


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("positive_weight", [1.0, 3.0])
def test_equals_a_slow_loop(power: float, positive_weight: float) -> None:
    training = Training(
        positive_weight=positive_weight, propensity=Propensity(feature="position", power=power, max_weight=12.5)
    )
    weigh = candidate_weights(training)
    assert weigh
    found = weigh({"candidate_label": tf.constant(LABELS), "candidate_position": tf.constant(POSITIONS)})
    np.testing.assert_allclose(found, slow_weights(training), rtol=1e-6)


def test_of_a_class_alone_no_place_is_needed() -> None:
    weigh = candidate_weights(Training(positive_weight=2.5))
    assert weigh
    np.testing.assert_array_equal(
        weigh({"candidate_label": tf.constant(LABELS)}), slow_weights(Training(positive_weight=2.5))
    )


def test_where_all_weigh_1_there_are_none() -> None:
    assert candidate_weights(Training()) is None


def test_the_loss_is_of_raw_places_in_the_records(tmp_path: Path) -> None:
    """The model sees the place standardised; the weights are of the place itself."""
    features = experiment_scenario().features.model_dump(mode="json", exclude_defaults=True)
    scenario = experiment_scenario(
        features={**features, "impression": {"position": {"kind": "numeric"}}},
        training={"positive_weight": 2.0, "propensity": {"feature": "position", "max_weight": 30.0}},
    )
    data = write_tiny_data(tmp_path, scenario, sessions=16)
    run = new_run(scenario, data.assets(scenario.features))
    (batch,) = session_dataset(
        data.files("train"),
        scenario.features,
        run.preprocessing,
        batch_size=16,
        weigh=candidate_weights(scenario.training),
    )
    run.model.test_step(batch)
    labels, real = batch["candidate_label"], run.model._real(batch, "candidate")
    positions = batch["candidate_position"].numpy() * 29 + 50  # of the tiny data's statistics
    weights = np.where(labels > 0.5, 2 * np.clip(positions, 1, 30), 1)
    logits = run.model(batch)
    expected = float(ranking_loss("pointwise", labels, logits, real, tf.constant(weights, tf.float32)))
    assert float(run.model.loss_means["ranking_loss"].result()) == pytest.approx(expected, rel=1e-4)
    assert expected > 2 * float(ranking_loss("pointwise", labels, logits, real))
