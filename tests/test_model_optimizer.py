"""AdamW for dense weights, Adagrad or a lazy AdamW for tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from model.dataset import session_dataset
from model.run_directory import new_run
from model.training.optimizer import optimizer
from pipeline.errors import InputError
from tiny_data import tiny_scenario, write_tiny_data


@pytest.mark.parametrize("tables", [{}, {"table_optimizer": "lazy_adamw", "table_weight_decay": 0.1}])
def test_a_step_touches_looked_up_rows_only_and_every_dense_weight(tables: dict[str, Any], tmp_path: Path) -> None:
    scenario = tiny_scenario(training={"weight_decay": 0.1, **tables})
    data = write_tiny_data(tmp_path, scenario, sessions=4)
    run = new_run(scenario, data.assets(scenario.features))
    model = run.model
    model.compile(optimizer=optimizer(model, scenario.training))
    batch = next(iter(session_dataset(data.files("train"), scenario.features, run.preprocessing, batch_size=2)))
    before = [weight.numpy() for weight in model.trainable_variables]
    model.train_step(batch)
    changed = {w.name: (w.numpy() != old) for w, old in zip(model.trainable_variables, before, strict=True)}

    looked_up = set(np.ravel(batch["behavior_item_id"])) | set(np.ravel(batch["candidate_item_id"]))
    rows = set(np.flatnonzero(changed["item:0"].any(axis=1)))
    assert rows, "no row of the item table moved"
    assert rows <= looked_up, f"rows {rows - looked_up} moved without being looked up: the update is not sparse"
    assert len(rows) < len(changed["item:0"])
    dense = {name: moved for name, moved in changed.items() if "kernel" in name}
    assert all(moved.any() for moved in dense.values()), [n for n, moved in dense.items() if not moved.any()]


@pytest.mark.parametrize("tables", ["adagrad", "lazy_adamw"])
def test_no_operation_of_a_training_step_goes_over_a_table(tables: str, tmp_path: Path) -> None:
    rows = 4321
    features = tiny_scenario().features.model_dump(mode="json", exclude_defaults=True)
    features["tables"] |= {name: {"hash_buckets": rows - 1} for name in ("item", "tag")}
    scenario = tiny_scenario(
        features=features,
        model={"id_dropout": 0.1, "embedding_l2": 1e-4},
        training={"table_optimizer": tables},
    )
    data = write_tiny_data(tmp_path, scenario, sessions=4)
    run = new_run(scenario, data.assets(scenario.features))
    run.model.compile(optimizer=optimizer(run.model, scenario.training))
    assert [table.shape[0] for table in run.model.embedding.tables.values()].count(rows) == 2
    batch = next(iter(session_dataset(data.files("train"), scenario.features, run.preprocessing, batch_size=2)))
    operations = tf.function(run.model.train_step).get_concrete_function(batch).graph.get_operations()
    outputs = [output for operation in operations for output in operation.outputs]
    assert len(outputs) > 1000
    assert not [output.name for output in outputs if output.shape.rank and output.shape[0] == rows]


@pytest.mark.parametrize("tables", ["adagrad", "lazy_adamw"])
def test_its_state_comes_back_from_a_checkpoint(tables: str, tmp_path: Path) -> None:
    scenario = tiny_scenario(training={"table_optimizer": tables})
    data = write_tiny_data(tmp_path / "data", scenario, sessions=8)
    results = []
    for restored in (False, True):
        tf.keras.utils.set_random_seed(1)
        run = new_run(scenario, data.assets(scenario.features))
        composite = optimizer(run.model, scenario.training)
        run.model.compile(optimizer=composite)
        batch = next(iter(session_dataset(data.files("train"), scenario.features, run.preprocessing, batch_size=8)))
        numbers = run.model.random_numbers.generator
        checkpoint = tf.train.Checkpoint(model=run.model, optimizer=composite, random_numbers=numbers)
        if restored:
            for part, weights in composite._optimizers_and_vars:
                part.build(weights())
            checkpoint.read(str(tmp_path / "state")).assert_existing_objects_matched()
        else:
            run.model.train_step(batch)
            checkpoint.write(str(tmp_path / "state"))
        run.model.train_step(batch)
        assert int(composite.iterations) == 2
        results.append([weight.numpy() for weight in run.model.trainable_variables])
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_the_rates_rise_from_0_before_the_schedule_begins(schedule: str, tmp_path: Path) -> None:
    scenario = tiny_scenario(
        training={"schedule": schedule, "warmup_steps": 10, "dense_learning_rate": 0.5, "table_learning_rate": 2.0}
    )
    data = write_tiny_data(tmp_path, scenario, sessions=4)
    run = new_run(scenario, data.assets(scenario.features))
    dense, tables = optimizer(run.model, scenario.training, steps=50).optimizers
    for step in range(51):
        share = step / 10 if step < 10 else 1.0
        if schedule == "cosine" and step >= 10:
            share = (1 + np.cos(np.pi * (step - 10) / 40)) / 2
        for part, highest in ((dense, 0.5), (tables, 2.0)):
            assert float(part._learning_rate(step)) == pytest.approx(highest * share, rel=1e-5, abs=1e-6)
    with pytest.raises(InputError, match="warmup_steps: 10 must be below the steps of the whole training, 10 here"):
        optimizer(run.model, scenario.training, steps=10)


def test_the_tables_learning_rate_is_their_optimizers_own_by_default() -> None:
    rates = [
        tiny_scenario(training=training).training.rate_of_tables
        for training in ({}, {"table_optimizer": "lazy_adamw"}, {"table_learning_rate": 0.03})
    ]
    assert rates == [0.1, 3e-3, 0.03]
    with pytest.raises(InputError, match=r"table_weight_decay: is of table_optimizer lazy_adamw"):
        tiny_scenario(training={"table_weight_decay": 0.1})
