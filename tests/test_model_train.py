"""Training, the run directory it writes, and evaluation of the run."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from random_run import random_run
from rich.console import Console
from sklearn.metrics import log_loss, roc_auc_score

from experiment_data import experiment_scenario
from model.evaluate import Evaluation, evaluate
from model.predict import predict
from model.readable_part import readable_part
from model.run_directory import load_run
from model.training.train import train
from model.weights_fingerprint import weights_fingerprint
from pipeline.errors import InputError
from pipeline.prepared_data import PreparedData
from serving.recorded_session import recorded_sessions
from tiny_data import tiny_scenario, write_tiny_data

SCENARIO = tiny_scenario(training={"batch_size": 4, "epochs": 4, "shuffle_buffer": 200})


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    return write_tiny_data(tmp_path_factory.mktemp("data"), SCENARIO, sessions=192)


@pytest.fixture(scope="module")
def trained(data: PreparedData, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[float]]]:
    directory = tmp_path_factory.mktemp("runs") / "run"
    return directory, train(SCENARIO, data, directory, verbose=0)


def test_fit_lowers_the_loss_and_ranks_better_than_chance(trained: tuple[Path, dict[str, list[float]]]) -> None:
    _, history = trained
    assert history["ranking_loss"][-1] < history["ranking_loss"][0] - 0.05
    assert max(history["val_session_auc"]) > 0.65


def test_the_directory_stands_alone_and_holds_the_best_epoch(
    trained: tuple[Path, dict[str, list[float]]], data: PreparedData, tmp_path: Path
) -> None:
    directory, history = trained
    moved = shutil.copytree(directory, tmp_path / "moved")
    marker = json.loads((moved / "run.json").read_text())
    assert marker["best_epoch"] == 1 + int(np.argmax(history["val_session_auc"]))
    assert json.loads((moved / "history.json").read_text()) == history
    run = load_run(moved)
    assert run.scenario == SCENARIO
    full = evaluate(run, data, "validation").metrics["full"]["model"]
    assert full["auc"] == pytest.approx(max(history["val_session_auc"]), abs=1e-4)


def test_a_taken_directory_is_refused(data: PreparedData, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="is not empty and holds no run"):
        train(SCENARIO, data, tmp_path, verbose=0)
    with pytest.raises(InputError, match="no run"):
        train(SCENARIO, data, tmp_path, overwrite=True, verbose=0)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_run_that_did_not_finish_is_no_run_and_can_be_replaced(tmp_path: Path) -> None:
    one_epoch = experiment_scenario()
    data = write_tiny_data(tmp_path / "data", one_epoch, sessions=32)
    wild = experiment_scenario(training={**one_epoch.training.model_dump(), "dense_learning_rate": 1e20})
    with pytest.raises(InputError, match="the loss is no longer finite"):
        train(wild, data, tmp_path / "run", verbose=0)
    with pytest.raises(InputError, match=r"its training did not finish \(no run\.json\); run `awmoe train`"):
        load_run(tmp_path / "run")
    train(one_epoch, data, tmp_path / "run", overwrite=True, verbose=0)
    assert load_run(tmp_path / "run").scenario == one_epoch


def test_a_run_that_is_not_there_or_does_not_fit(trained: tuple[Path, dict[str, list[float]]], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such directory"):
        load_run(tmp_path / "none")
    broken = shutil.copytree(trained[0], tmp_path / "broken")
    (broken / "vocabularies" / "item.txt").write_text("item_0\n")
    with pytest.raises(InputError, match="weights: broken, or not of the run's scenario"):
        load_run(broken)
    truncated = shutil.copytree(trained[0], tmp_path / "truncated")
    truncate(truncated / "weights.data-00000-of-00001")
    with pytest.raises(InputError, match="weights: broken, or not of the run's scenario"):
        load_run(truncated)


def test_training_without_positives_is_refused(tmp_path: Path) -> None:
    data = write_tiny_data(tmp_path / "data", SCENARIO, sessions=4)
    for file in data.files("train"):
        records = list(tf.data.TFRecordDataset(file, "GZIP").as_numpy_iterator())
        with tf.io.TFRecordWriter(file, options="GZIP") as writer:
            for record in records:
                example = tf.train.Example.FromString(record)
                labels = example.features.feature["candidate_label"].float_list
                labels.value[:] = [0.0] * len(labels.value)
                writer.write(example.SerializeToString())
    with pytest.raises(InputError, match="no candidate of the training part has a positive label"):
        train(SCENARIO, data, tmp_path / "run", verbose=0)
    assert not (tmp_path / "run").exists()


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-40])


def flip_a_bit(file: Path) -> None:
    """In the middle of what is compressed."""
    records = bytearray(gzip.decompress(file.read_bytes()))
    records[len(records) // 2] ^= 1
    file.write_bytes(gzip.compress(records))


@pytest.mark.parametrize("damage", [truncate, flip_a_bit])
def test_a_broken_training_file_stops_with_its_name_or_is_skipped_and_counted(
    damage: Callable[[Path], None], tmp_path: Path
) -> None:
    scenario = experiment_scenario(training={"batch_size": 16, "epochs": 1, "shuffle_buffer": 64})
    data = write_tiny_data(tmp_path / "data", scenario, sessions=200)
    file, validation = Path(data.files("train")[0]), Path(data.files("validation")[1])
    damage(file)
    where = r"train/sessions-00000-of-00002\.tfrecord\.gz: broken after \d+ records, at byte [\d,]+ of what"
    with pytest.raises(InputError, match=where + r".*; put the file back .*, or start anew: .* --skip-corrupt"):
        train(scenario, data, tmp_path / "run", verbose=0)

    validation.write_bytes(validation.read_bytes()[:-40])
    told: list[str] = []
    train(scenario, data, tmp_path / "skipping", skip_corrupt=True, verbose=0, tell=told.append)
    lost = 100 - readable_part(str(file)).records
    assert 0 < lost < 100
    reads, of_train, reads_too, of_validation, sums = told
    assert (reads, reads_too) == tuple(f"{part}: reads 2 files to find broken ones" for part in ("train", "validation"))
    assert of_train.startswith(f"warning: {file}: is broken and left out after {100 - lost} sessions (")
    assert of_validation.startswith(f"warning: {validation}: is broken")
    marker = json.loads((tmp_path / "skipping/run.json").read_text())
    assert marker["sessions"] == 200 - lost
    assert marker["skipped_sessions"]["train"] == lost
    assert 0 < marker["skipped_sessions"]["validation"] <= 50
    assert sums.startswith(f"left out of broken files: {lost} sessions of train, ")


def test_a_file_that_breaks_meanwhile_is_other_data_if_it_is_skipped(tmp_path: Path) -> None:
    class Stop(tf.keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            raise KeyboardInterrupt

    scenario = experiment_scenario(training={"batch_size": 16, "epochs": 2, "shuffle_buffer": 64})
    data = write_tiny_data(tmp_path / "data", scenario, sessions=800)
    with pytest.raises(KeyboardInterrupt):
        train(scenario, data, tmp_path / "run", verbose=0, callbacks=[Stop()])
    truncate(Path(data.files("train")[0]))
    with pytest.raises(InputError, match=r"00000-of-00002\.tfrecord\.gz: broken"):
        train(scenario, data, tmp_path / "run", verbose=0, tell=lambda line: None)
    with pytest.raises(InputError, match=r"begun on other sessions .*with --skip-corrupt only if it began with it"):
        train(scenario, data, tmp_path / "run", skip_corrupt=True, verbose=0, tell=lambda line: None)


@pytest.fixture(scope="module")
def candidates(trained: tuple[Path, dict[str, list[float]]], data: PreparedData) -> pa.Table:
    return predict(load_run(trained[0]), data.files("test"))


def test_predictions_have_a_row_a_candidate(candidates: pa.Table, data: PreparedData) -> None:
    assert len(candidates["session_id"].unique()) == data.sessions("test")
    rows = candidates.to_pandas()
    assert rows["score"].between(0, 1).all()
    assert (rows["slice_few_behaviors"] == (rows["behavior_count"] <= 2)).all()
    assert 0 < rows["slice_elderly"].mean() < 1
    assert rows["item_id"].str.startswith("item_").all()
    assert rows["popularity"].between(0, 100).all()  # raw, not normalised


def test_evaluation_of_the_model_popularity_and_an_oracle(
    trained: tuple[Path, dict[str, list[float]]], candidates: pa.Table, data: PreparedData, tmp_path: Path
) -> None:
    run = load_run(trained[0])
    everything = pa.concat_tables([candidates, predict(run, data.files("new_items"))]).to_pandas()
    everything["probability"] = 0.25 + 0.5 * everything["label"]
    everything = everything.groupby(["session_id", "item_id"], as_index=False)["probability"].max()
    pq.write_table(pa.Table.from_pandas(everything.sample(frac=1, random_state=0)), tmp_path / "truth.parquet")

    evaluation = evaluate(run, data, truth=tmp_path / "truth.parquet")
    assert set(evaluation.metrics) == {"full", "few_behaviors", "elderly", "new_items"}
    full = evaluation.metrics["full"]
    rows = candidates.to_pandas()
    assert full["model"]["pooled_auc"] == pytest.approx(roc_auc_score(rows["label"], rows["score"]))
    assert full["model"]["log_loss"] == pytest.approx(log_loss(rows["label"], rows["score"]))
    two_classes = rows.groupby("session_id").filter(lambda s: s["label"].nunique() == 2).groupby("session_id")
    for ranking, column in (("model", "score"), ("popularity", "popularity")):
        aucs = two_classes.apply(lambda s, column=column: roc_auc_score(s["label"], s[column]))
        assert full[ranking]["sessions"] == len(aucs)
        assert full[ranking]["auc"] == pytest.approx(aucs.mean())
    assert (full["oracle"]["auc"] or 0) > 0.95  # below 1 only where an item is shown twice
    few = rows[rows["behavior_count"] <= 2].groupby("session_id")["label"].nunique()
    assert evaluation.metrics["few_behaviors"]["model"]["sessions"] == (few == 2).sum()

    evaluation.write(tmp_path / "metrics.json")
    written = json.loads((tmp_path / "metrics.json").read_text())
    assert written == {**evaluation.metrics, "weights": weights_fingerprint(run.model)}
    assert Evaluation.read(tmp_path / "metrics.json") == evaluation
    console = Console(width=200, record=True, file=(tmp_path / "out.txt").open("w"))
    console.print(evaluation.table())
    text = console.export_text()
    assert f"{full['model']['auc']:.4f}" in text
    assert "new_items" in text


def test_the_displayed_order_is_a_ranking_lowest_first(tmp_path: Path) -> None:
    scenario = tiny_scenario(
        features={"impression": {"position": {"kind": "numeric", "optional": True}}},
        evaluation={"displayed": "position"},
    )
    run = random_run(scenario, tmp_path / "assets")
    shown = write_tiny_data(tmp_path / "data", scenario, sessions=64)
    rows = predict(run, shown.files("test")).to_pandas()
    found = {session: of_session["displayed"].tolist() for session, of_session in rows.groupby("session_id")}
    aucs = []
    for session in recorded_sessions(shown, scenario.features):
        positions = np.array([candidate["position"] for candidate in session.candidates], np.float32)
        np.testing.assert_array_equal(found[session.session_id], -positions)
        if len(set(session.labels)) == 2:  # one that is missing ranks last
            aucs.append(roc_auc_score(session.labels, -np.nan_to_num(positions, nan=1000)))
    displayed = evaluate(run, shown).metrics["full"]["displayed"]
    assert displayed["sessions"] == len(aucs) > 0
    assert displayed["auc"] == pytest.approx(np.mean(aucs))
    assert "log_loss" not in displayed


def test_a_truth_of_another_log_is_refused(
    trained: tuple[Path, dict[str, list[float]]], data: PreparedData, tmp_path: Path
) -> None:
    other = pa.table({"session_id": ["x"], "item_id": ["item_0"], "probability": [0.5]})
    pq.write_table(other, tmp_path / "truth.parquet")
    with pytest.raises(InputError, match=r"has no probability for item `.*` of session `test_"):
        evaluate(load_run(trained[0]), data, truth=tmp_path / "truth.parquet")
    with pytest.raises(InputError, match="cannot be read as true probabilities"):
        evaluate(load_run(trained[0]), data, truth=tmp_path / "missing.parquet")


def test_a_slice_without_sessions_has_no_metrics(
    trained: tuple[Path, dict[str, list[float]]], data: PreparedData
) -> None:
    nobody = tiny_scenario(evaluation={"slices": [{"name": "none", "feature": "user_age_group", "values": ["x"]}]})
    metrics = evaluate(replace(load_run(trained[0]), scenario=nobody), data).metrics["none"]["model"]
    assert metrics == {
        "sessions": 0,
        "auc": None,
        "auc_at_10": None,
        "ndcg": None,
        "ndcg_at_10": None,
        "mrr": None,
        "pooled_auc": None,
        "log_loss": None,
    }


def test_an_undefined_metric_is_empty() -> None:
    evaluation = Evaluation({"elderly": {"model": {"sessions": 0, "auc": None}}})
    console = Console(width=120)
    with console.capture() as shown:
        console.print(evaluation.table())
    assert "elderly" in shown.get()
    assert "None" not in shown.get()
