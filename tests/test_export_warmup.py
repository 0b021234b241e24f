"""Warm-up requests: what a server runs before it answers must run."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from random_run import random_run
from tensorflow_serving.apis import prediction_log_pb2

from export.publish import export
from export.warmup import replay_warmup
from export.warmup_file import WARMUP_FILE
from pipeline.errors import InputError
from tiny_data import category_scenario, tiny_scenario


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("warm-up")
    return export(random_run(tiny_scenario(), place / "data"), place / "models")


@pytest.fixture
def copied(version: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(version, tmp_path / "copied"))


def logs(version: Path) -> list[prediction_log_pb2.PredictionLog]:
    records = tf.data.TFRecordDataset(str(version / WARMUP_FILE)).as_numpy_iterator()
    return [prediction_log_pb2.PredictionLog.FromString(record) for record in records]


def rewrite(version: Path, written: list[prediction_log_pb2.PredictionLog]) -> None:
    with tf.io.TFRecordWriter(str(version / WARMUP_FILE)) as writer:
        for log in written:
            writer.write(log.SerializeToString())


def test_both_signatures_are_warmed_up_at_several_sizes_and_for_a_new_user(version: Path) -> None:
    assert version.joinpath("assets.extra", "tf_serving_warmup_requests").is_file(), "the name is the server's"
    gates, scores = set(), set()
    for log in logs(version):
        assert log.WhichOneof("log_type") == "predict_log"
        request = log.predict_log.request
        assert request.model_spec.name == "awmoe"
        inputs = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
        (behaviors,) = inputs["behavior_count"]
        longest = inputs["behavior_item_id"].shape[1]
        assert longest == max(behaviors, 1)
        if request.model_spec.signature_name == "session_gate":
            gates.add((behaviors, longest))
            continue
        assert request.model_spec.signature_name == "score_items"
        assert inputs["gate"].shape == (1, 3)
        (candidates,) = inputs["candidate_count"]
        assert inputs["candidate_item_id"].shape == (1, candidates)
        scores.add((behaviors, candidates))
    assert gates == {(0, 1), (1, 1), (10, 10), (50, 50)}
    assert scores == {(0, 20)} | {(t, n) for t in (1, 10, 50) for n in (1, 20, 100)}
    assert replay_warmup(version) == len(logs(version)) == 14


def test_the_longest_history_is_the_scenarios(tmp_path: Path) -> None:
    scenario = tiny_scenario(pipeline={"behaviors": {"max_behaviors": 4}})
    version = export(random_run(scenario, tmp_path / "data"), tmp_path / "models")
    lengths = {log.predict_log.request.inputs["behavior_item_id"].tensor_shape.dim[1].size for log in logs(version)}
    assert lengths == {1, 4}


def test_a_model_of_width_1_is_warmed_up(tmp_path: Path) -> None:
    version = export(random_run(category_scenario(name="din"), tmp_path / "data"), tmp_path / "models")
    assert replay_warmup(version) == 14


def test_a_request_that_fails_is_told(copied: Path) -> None:
    written = logs(copied)
    del written[3].predict_log.request.inputs["candidate_price"]
    rewrite(copied, written)
    with pytest.raises(InputError, match=r"warm-up request 3 fails \(.*candidate_price.*nothing was published"):
        replay_warmup(copied)


def test_a_score_that_is_not_finite_is_told(copied: Path) -> None:
    written = logs(copied)
    gate = next(log.predict_log.request for log in written if "gate" in log.predict_log.request.inputs).inputs["gate"]
    gate.CopyFrom(tf.make_tensor_proto(np.full((1, 3), np.nan, np.float32)))
    rewrite(copied, written)
    with pytest.raises(InputError, match=r"warm-up request 1: `scores` is not finite"):
        replay_warmup(copied)


@pytest.mark.parametrize("count", [0, 1001])
def test_too_many_requests_or_none_are_told(count: int, copied: Path) -> None:
    rewrite(copied, [logs(copied)[0]] * count)
    with pytest.raises(InputError, match=f"has {count:,} warm-up requests, must be 1 to 1,000"):
        replay_warmup(copied)


def test_a_damaged_file_is_told(copied: Path) -> None:
    (copied / WARMUP_FILE).write_bytes((copied / WARMUP_FILE).read_bytes()[:-5])
    with pytest.raises(InputError, match="warm-up request 13 fails"):
        replay_warmup(copied)


def test_an_export_whose_warm_up_fails_is_not_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = random_run(tiny_scenario(), tmp_path / "data")

    def write_nothing(directory: Path, run: object) -> int:
        rewrite(directory, [])
        return 0

    monkeypatch.setattr("export.publish.write_warmup", write_nothing)
    with pytest.raises(InputError, match="has 0 warm-up requests"):
        export(run, tmp_path / "models")
    assert list((tmp_path / "models" / "awmoe").iterdir()) == []
