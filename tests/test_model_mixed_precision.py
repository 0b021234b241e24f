"""Training in bfloat16: of the training step alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from model.dataset import session_dataset
from model.run_directory import Run, new_run
from model.training.optimizer import optimizer
from pipeline.prepared_data import PreparedData
from tiny_data import tiny_scenario, write_tiny_data

Batch = dict[str, tf.Tensor]


def run_and_batch(directory: Path, precision: str, **model: object) -> tuple[Run, Batch]:
    scenario = tiny_scenario(training={"precision": precision}, model=model)
    data = PreparedData.open(directory) if directory.exists() else write_tiny_data(directory, scenario, sessions=32)
    tf.keras.utils.set_random_seed(1)
    run = new_run(scenario, data.assets(scenario.features))
    run.model.compile(optimizer=optimizer(run.model, scenario.training))
    dataset = session_dataset(data.files("train"), scenario.features, run.preprocessing, batch_size=32)
    return run, next(iter(dataset))


def losses(run: Run, batch: Batch, steps: int = 8) -> list[float]:
    step = tf.function(run.model.train_step)
    values = []
    for _ in range(steps):
        run.model.reset_metrics()
        values.append(float(step(batch)["loss"]))
    return values


@pytest.mark.parametrize("model", [{}, {"experts": {"count": 4, "top_k": 2}}], ids=str)
def test_learns_as_float32_does_and_is_not_float32(tmp_path: Path, model: dict[str, object]) -> None:
    exact, mixed = (losses(*run_and_batch(tmp_path / "data", p, **model)) for p in ("float32", "mixed_bfloat16"))
    assert exact[-1] < exact[0] - 0.01, f"float32 does not learn: {exact}"
    np.testing.assert_allclose(mixed, exact, atol=0.02)
    assert mixed != exact, "the losses are equal to the last bit: nothing was computed in bfloat16"


def test_weights_and_what_scores_stay_float32(tmp_path: Path) -> None:
    run, batch = run_and_batch(tmp_path / "data", "mixed_bfloat16", name="aw_moe")  # which draws nothing
    losses(run, batch, steps=1)
    assert {weight.dtype for weight in run.model.weights} == {tf.float32}
    plain, _ = run_and_batch(tmp_path / "data", "float32", name="aw_moe")
    for weight, trained in zip(plain.model.weights, run.model.weights, strict=True):
        weight.assign(trained)
    np.testing.assert_array_equal(run.model(batch), plain.model(batch))
    for model in (run.model, plain.model):
        model.reset_metrics()
    assert {name: float(value) for name, value in run.model.test_step(batch).items()} == {
        name: float(value) for name, value in plain.model.test_step(batch).items()
    }
