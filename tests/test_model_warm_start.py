"""A training that starts from an earlier run: vocabularies grow, rows, scores and the optimizer's state stay."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.random_weights import random_weights
from experiment_data import experiment_scenario
from export.publish import export
from model.run_directory import MARKER, SCENARIO, Run, load_run, new_run, save_weights
from model.training.grown_assets import write_grown_assets
from model.training.optimizer import optimizer
from model.training.optimizer_state import OptimizerState
from model.training.train import train
from model.training.warm_start import WarmStart
from model.weights_fingerprint import weights_fingerprint
from pipeline.config import Scenario
from pipeline.encoding_assets import STATISTICS, VOCABULARIES, EncodingAssets
from pipeline.errors import InputError
from pipeline.prepared_data import PreparedData
from pipeline.scenario_file import dump_scenario
from tiny_data import VOCABULARY_SIZE, random_raw_sessions, tiny_scenario, write_tiny_data

SCENARIO_OF_ALL = tiny_scenario()
GROWN = 5


def complete(run: Run, directory: Path, *, state: bool = True) -> Path:
    """A run directory of these weights; its optimizer's state is random."""
    directory.mkdir()
    run.assets.copy_to(directory)
    (directory / SCENARIO).write_text(dump_scenario(run.scenario), encoding="utf-8")
    save_weights(run.model, directory)
    if state:
        made = OptimizerState.of(optimizer(run.model, run.scenario.training))
        rng = np.random.default_rng(8)
        for variable in (*made.dense, *made.tables):
            variable.assign(rng.random(variable.shape) + 0.5)
        for steps in made.steps:
            steps.assign(1000)
        made.save(directory)
    (directory / MARKER).write_text("{}")
    return directory


def grown_data(directory: Path, scenario: Scenario, **options: Any) -> PreparedData:
    """Prepared data whose vocabularies begin with new values, lack an old one, and have the others in another order."""
    data = write_tiny_data(directory, scenario, **options)
    for path in (directory / VOCABULARIES).iterdir():
        kept = path.read_text().splitlines()[1:]
        # value 12 is the one that tiny data has outside its vocabulary
        new = [f"{path.stem}_{VOCABULARY_SIZE + number}" for number in range(GROWN)]
        path.write_text("".join(f"{value}\n" for value in (*new, *reversed(kept))))
    return data


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> WarmStart:
    place = tmp_path_factory.mktemp("old")
    run = new_run(
        SCENARIO_OF_ALL, write_tiny_data(place / "data", SCENARIO_OF_ALL, sessions=8).assets(SCENARIO_OF_ALL.features)
    )
    random_weights(run.model, 5)
    return WarmStart.open(complete(run, place / "run"), SCENARIO_OF_ALL, pytest.fail)


@pytest.fixture(scope="module")
def new(old: WarmStart, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that starts from the old one."""
    place = tmp_path_factory.mktemp("new")
    data = grown_data(place / "data", SCENARIO_OF_ALL, sessions=8)
    old.write_assets(data.assets(SCENARIO_OF_ALL.features), place)
    run = new_run(SCENARIO_OF_ALL, EncodingAssets.load(place, SCENARIO_OF_ALL.features))
    assert f"starts from {old.directory}; new rows: 5 of item, 5 of brand, " in old.describe(run.assets)
    assert old.grown_rows(data.assets(SCENARIO_OF_ALL.features)) == run.preprocessing.table_rows
    run.model.compile(optimizer=optimizer(run.model, SCENARIO_OF_ALL.training, 10, old.steps))
    old.give_to(run)
    return run


def scores(run: Run, raw: dict[str, np.ndarray]) -> np.ndarray:
    return run.model(run.preprocessing({name: tf.constant(values) for name, values in raw.items()})).numpy()


def test_every_old_value_keeps_its_row_bit_for_bit_and_a_new_one_has_that_of_values_not_known(
    old: WarmStart, new: Run
) -> None:
    declared = SCENARIO_OF_ALL.features.tables
    for table in ("item", "brand", "term", "age_group", "action"):
        first = 1 + declared[table].oov_buckets
        before, after = (run.model.embedding.tables[table].numpy() for run in (old.run, new))
        values = {name: first + place for place, name in enumerate(new.assets.vocabulary(table))}
        assert len(values) == VOCABULARY_SIZE + GROWN
        for place, value in enumerate(old.run.assets.vocabulary(table)):
            assert values[value] == first + place
        np.testing.assert_array_equal(after[: len(before)], before)
        unknown = {bytes(row) for row in before[1:first]}
        for number in range(VOCABULARY_SIZE, VOCABULARY_SIZE + GROWN):
            assert bytes(after[values[f"{table}_{number}"]]) in unknown
    for table in ("tag", "item_weight"):  # hashed, and a number's buckets
        ours, theirs = (run.model.embedding.tables[table].numpy() for run in (new, old.run))
        np.testing.assert_array_equal(ours, theirs)


@settings(max_examples=20)
@given(seed=st.integers(0, 2**16), behaviors=st.integers(1, 6), candidates=st.integers(1, 5))
def test_before_a_step_it_scores_as_the_old_model_new_values_among_them(
    old: WarmStart, new: Run, seed: int, behaviors: int, candidates: int
) -> None:
    raw = random_raw_sessions(SCENARIO_OF_ALL, 3, behaviors, candidates, seed)
    np.testing.assert_array_equal(scores(new, raw), scores(old.run, raw))


def test_the_optimizer_goes_on_with_its_state_and_knows_nothing_of_new_rows(old: WarmStart, new: Run) -> None:
    assert old.state is not None
    state = OptimizerState.of(new.model.optimizer)
    assert [int(steps) for steps in state.steps] == [1000, 1000]
    for before, after in zip(old.state.dense, state.dense, strict=True):
        np.testing.assert_array_equal(after, before)
    fresh = SCENARIO_OF_ALL.training.table_initial_accumulator
    grown = 0
    for old_state, new_state in zip(old.state.tables, state.tables, strict=True):
        before, after = old_state.numpy(), new_state.numpy()
        np.testing.assert_array_equal(after[: len(before)], before)
        np.testing.assert_allclose(after[len(before) :], fresh)
        grown += len(after) > len(before)
    assert grown == 5
    dense = new.model.optimizer.optimizers[0]
    dense._compute_current_learning_rate()
    assert float(dense.learning_rate) == pytest.approx(SCENARIO_OF_ALL.training.dense_learning_rate), "begins anew"


@given(st.lists(st.text("abc", min_size=1), unique=True), st.lists(st.text("abc", min_size=1), unique=True, min_size=1))
def test_a_vocabulary_grows_at_its_end(
    tmp_path_factory: pytest.TempPathFactory, known: list[str], given_values: list[str]
) -> None:
    place = tmp_path_factory.mktemp("grown")
    for name, values in (("old", known), ("new", given_values)):
        (place / name).mkdir()
        (place / name / "x.txt").write_text("".join(f"{value}\n" for value in values))
    old, new = (EncodingAssets(place / name, {"x": place / name / "x.txt"}, {}) for name in ("old", "new"))
    added = write_grown_assets(old, new, place / "out")
    result = (place / "out" / VOCABULARIES / "x.txt").read_text().splitlines()
    assert result[: len(known)] == known
    assert set(result) == {*known, *given_values}
    assert len(result) == len(set(result))
    assert added["x"] == [value for value in given_values if value not in known] == result[len(known) :]


def test_growing_by_hand(tmp_path: Path) -> None:
    scenario = experiment_scenario()
    write_tiny_data(tmp_path / "old", scenario, sessions=4)
    write_tiny_data(tmp_path / "new", scenario, sessions=4)
    (tmp_path / "old" / VOCABULARIES / "category.txt").write_text("shoes\nshirts\n")
    (tmp_path / "new" / VOCABULARIES / "category.txt").write_text("lamps\nshirts\nhats\n")
    (tmp_path / "new" / STATISTICS).write_text(
        (tmp_path / "new" / STATISTICS).read_text().replace('"mean": 3.5', '"mean": 4.5')
    )
    old, new = (PreparedData.open(tmp_path / name).assets(scenario.features) for name in ("old", "new"))
    assert old.numeric != new.numeric
    write_grown_assets(old, new, tmp_path / "out")
    grown = EncodingAssets.load(tmp_path / "out", scenario.features)
    assert grown.vocabulary("category") == ["shoes", "shirts", "lamps", "hats"]
    assert grown.numeric == old.numeric, "the weights were trained on the old normalisation"
    run = new_run(scenario, grown)
    rows = run.preprocessing.rows("category", tf.constant(["", "socks", "shoes", "shirts", "lamps", "hats"]))
    assert rows.numpy().tolist() == [0, 1, 2, 3, 4, 5]


SMALL = experiment_scenario(training={"batch_size": 16, "epochs": 1, "shuffle_buffer": 64})


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PreparedData]:
    """A trained run, and data of a newer day."""
    place = tmp_path_factory.mktemp("days")
    train(SMALL, write_tiny_data(place / "old", SMALL, sessions=64), place / "run", verbose=0)
    return place / "run", grown_data(place / "new", SMALL, sessions=64, seed=9)


def test_train_starts_from_a_run_and_what_it_writes_exports_and_is_started_from(
    day: tuple[Path, PreparedData], tmp_path: Path
) -> None:
    before, data = day
    told: list[str] = []
    train(SMALL, data, tmp_path / "run", warm_start=before, verbose=0, tell=told.append)
    (line,) = told
    assert line.startswith(f"{tmp_path / 'run'}: starts from {before}; new rows: 5 of item, 5 of category, 5 of age")
    marker = json.loads((tmp_path / "run" / MARKER).read_text())
    weights = weights_fingerprint(load_run(before).model)
    assert marker["warm_start"] == {"run": str(before), "weights": weights, "steps": 4}
    old, new = load_run(before), load_run(tmp_path / "run")
    assert new.assets.vocabulary("item")[:VOCABULARY_SIZE] == old.assets.vocabulary("item")
    tables = [run.model.embedding.tables["item"] for run in (old, new)]
    assert tables[1].shape[0] == tables[0].shape[0] + GROWN
    version = export(new, tmp_path / "models")
    values = [path.read_text() for path in version.rglob("item.txt")]
    assert values == [(tmp_path / "run" / VOCABULARIES / "item.txt").read_text()]
    again: list[str] = []
    train(SMALL, data, tmp_path / "next", warm_start=tmp_path / "run", verbose=0, tell=again.append)
    assert again[0].endswith("new rows: none")
    steps = [WarmStart.open(tmp_path / name, SMALL, pytest.fail).steps for name in ("run", "next")]
    assert steps == [8, 12], "the optimizer's steps add up"


class Interrupt(tf.keras.callbacks.Callback):
    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if batch == 2:
            raise KeyboardInterrupt


def test_interrupted_it_goes_on_from_the_same_run_alone(day: tuple[Path, PreparedData], tmp_path: Path) -> None:
    before, data = day
    scenario = experiment_scenario(training={"batch_size": 8, "epochs": 1, "shuffle_buffer": 64, "checkpoint_steps": 2})
    whole = train(scenario, data, tmp_path / "whole", warm_start=before, verbose=0, tell=lambda line: None)
    options: dict[str, Any] = {"verbose": 0, "tell": lambda line: None}
    cut = tmp_path / "cut"
    with pytest.raises(KeyboardInterrupt):
        train(scenario, data, cut, warm_start=before, callbacks=[Interrupt()], **options)
    with pytest.raises(InputError, match=rf"begun from {before}, not fresh weights; give the same --warm-start"):
        train(scenario, data, cut, **options)
    with pytest.raises(InputError, match=rf"begun from {before}, not {tmp_path / 'whole'}"):
        train(scenario, data, cut, warm_start=tmp_path / "whole", **options)
    moved = shutil.copytree(before, tmp_path / "moved")
    assert train(scenario, data, cut, warm_start=moved, **options) == whole
    ours, theirs = (weights_fingerprint(load_run(tmp_path / name).model) for name in ("cut", "whole"))
    assert ours == theirs


def test_a_run_without_its_optimizer_starts_fresh_with_a_warning(
    day: tuple[Path, PreparedData], tmp_path: Path
) -> None:
    before, _ = day
    lazy = experiment_scenario(training={"table_optimizer": "lazy_adamw"})
    told: list[str] = []
    start = WarmStart.open(before, lazy, told.append)
    assert start.state is not None
    assert told == [f"warning: {before}: its tables were trained with adagrad; lazy_adamw begins anew"]
    older = shutil.copytree(before, tmp_path / "older")
    for path in older.glob("optimizer.*"):
        path.unlink()
    start = WarmStart.open(older, SMALL, told.append)
    assert start.state is None
    assert start.steps == 0
    assert "has no optimizer.*; the optimizer begins anew" in told[-1]
    broken = shutil.copytree(before, tmp_path / "broken")
    data_file = broken / "optimizer.data-00000-of-00001"
    data_file.write_bytes(data_file.read_bytes()[:-40])
    with pytest.raises(InputError, match=r"optimizer: broken, or not of the run's scenario .*; delete .*optimizer\.\*"):
        _ = WarmStart.open(broken, SMALL, told.append).state


def other_scenarios() -> Iterator[Any]:
    features = SMALL.features.model_dump(mode="json", exclude_defaults=True)
    model = SMALL.model.model_dump(mode="json", exclude_defaults=True)
    with_brand = {**features, "item": {**features["item"], "brand": {"kind": "categorical", "table": "item"}}}
    yield pytest.param({"features": with_brand}, r"`features\.item\.brand", id="a feature more")
    yield pytest.param(
        {"model": {**model, "embedding_dimension": 8}}, r"`model\.embedding_dimension: 4`", id="dimension"
    )
    yield pytest.param({"model": {**model, "pooling": "mean"}}, r"`model\.pooling: sum`", id="same shapes")
    yield pytest.param({"model": {**model, "name": "din"}}, r"`model\.name: aw_moe_cl`", id="model")
    yield pytest.param({"model": {**model, "name": "aw_moe", "id_dropout": 0.3}}, "", id="what training alone reads")
    yield pytest.param({"training": {"loss": "listwise"}}, "", id="training")


@pytest.mark.parametrize(("sections", "difference"), other_scenarios())
def test_another_model_is_refused_with_what_differs(
    sections: dict[str, Any], difference: str, day: tuple[Path, PreparedData]
) -> None:
    scenario = experiment_scenario(**sections)
    if not difference:
        WarmStart.open(day[0], scenario, pytest.fail)
        return
    with pytest.raises(InputError, match=rf"was trained with {difference}.*start from a run of the same features"):
        WarmStart.open(day[0], scenario, pytest.fail)


def test_features_in_another_order_are_refused(old: WarmStart) -> None:
    """Equal as mappings are; but the dense weights of one would read the columns of another."""
    settings = SCENARIO_OF_ALL.model_dump(exclude_defaults=True)
    settings["features"]["item"] = dict(reversed(settings["features"]["item"].items()))
    turned = Scenario.model_validate(settings)
    assert turned.features.item == SCENARIO_OF_ALL.features.item
    with pytest.raises(InputError, match="was trained with the features in another order"):
        WarmStart.open(old.directory, turned, pytest.fail)


def test_the_run_itself_and_no_run_are_refused(day: tuple[Path, PreparedData], tmp_path: Path) -> None:
    before, data = day
    with pytest.raises(InputError, match="is the run that the training is to start from"):
        train(SMALL, data, before, warm_start=before, overwrite=True, verbose=0)
    with pytest.raises(InputError, match="no such directory; run `awmoe train` first"):
        train(SMALL, data, tmp_path / "run", warm_start=tmp_path / "none", verbose=0)
    assert not (tmp_path / "run").exists()
    assert (before / MARKER).exists()
