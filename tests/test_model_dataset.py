"""TFRecords to batches."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from experiment_data import experiment_scenario
from model.dataset import broken_files_named, raw_dataset, session_dataset
from model.preprocessing import Preprocessing
from pipeline.errors import InputError
from pipeline.prepared_data import PreparedData
from tiny_data import random_raw_sessions, tiny_scenario, write_tiny_data

SCENARIO = tiny_scenario()
FEATURES = SCENARIO.features
FEW_FEATURES = experiment_scenario()


@pytest.fixture
def data(tmp_path: Path) -> PreparedData:
    return write_tiny_data(tmp_path, SCENARIO, sessions=20, seed=3)


def read(data: PreparedData, *, batch_size: int = 8, **options: Any) -> list[dict[str, tf.Tensor]]:
    preprocessing = Preprocessing(FEATURES, data.assets(FEATURES))
    return list(session_dataset(data.files("train"), FEATURES, preprocessing, batch_size=batch_size, **options))


def test_raw_values_come_back_padded(data: PreparedData) -> None:
    written = random_raw_sessions(SCENARIO, 20, behaviors=5, candidates=4, seed=3)
    (batch,) = raw_dataset(data.files("train"), FEATURES, batch_size=32)
    rows = [int(name.decode().removeprefix("train_")) for name in batch["session_id"].numpy()]
    assert sorted(rows) == list(range(20))
    for spec in FEATURES.score_inputs:
        expected = written[spec.name][rows]
        if spec.dtype == "string":
            expected = np.char.encode(expected.astype(str)).astype(object)
        np.testing.assert_array_equal(batch[spec.name], expected, err_msg=spec.name)


def test_batches_have_what_training_needs(data: PreparedData) -> None:
    batches = read(data)
    assert [batch["session_id"].shape[0] for batch in batches] == [8, 8, 4]
    for batch in batches:
        assert batch["candidate_label"].shape == batch["candidate_item_id"].shape
        same_user = batch["user_id"][:, None] == batch["user_id"][None]
        same_print = batch["user_fingerprint"][:, None] == batch["user_fingerprint"][None]
        np.testing.assert_array_equal(same_user, same_print)


def test_axes_have_at_least_one_position(data: PreparedData) -> None:
    for batch in read(data, batch_size=1):
        behaviors = int(batch["behavior_count"][0])
        assert batch["behavior_brand"].shape == (1, max(behaviors, 1))
        if not behaviors:
            assert batch["behavior_brand"].numpy().tolist() == [[0]]
    assert any(int(batch["behavior_count"][0]) == 0 for batch in read(data, batch_size=1))


def session_ids(data: PreparedData, **options: Any) -> list[list[bytes]]:
    """Of each batch; of a scenario that is traced quickly, shuffled."""
    features = FEW_FEATURES.features
    preprocessing = Preprocessing(features, data.assets(features))
    options = {"batch_size": 4, "shuffle_buffer": 50, "seed": 1, **options}
    batches = session_dataset(data.files("train"), features, preprocessing, **options)
    return [batch["session_id"].numpy().tolist() for batch in batches]


def test_the_order_is_by_seed_and_epoch(tmp_path: Path) -> None:
    data = write_tiny_data(tmp_path, FEW_FEATURES, sessions=20)
    first, other, second = session_ids(data), session_ids(data, seed=2), session_ids(data, epochs=range(1, 2))
    assert first == session_ids(data)
    assert len({str(order) for order in (first, other, second)}) == 3
    assert sorted(chain(*first)) == sorted(chain(*second)) == sorted(chain(*session_ids(data, shuffle_buffer=None)))
    assert session_ids(data, epochs=range(2)) == first + second


def test_an_epoch_can_be_read_from_any_batch_on(tmp_path: Path) -> None:
    """37 batches, which are three windows, and an epoch after them."""
    data = write_tiny_data(tmp_path, FEW_FEATURES, sessions=147)
    whole = session_ids(data, epochs=range(1, 3))
    assert len(whole) == 2 * 37
    for skip in (1, 16, 36):
        assert session_ids(data, epochs=range(1, 3), skip=skip) == whole[skip:]


def test_replicas_get_the_parts_of_each_batch(tmp_path: Path) -> None:
    """18 batches of 7, the last of 1 session; the parts of three replicas, in two workers' inputs."""
    data = write_tiny_data(tmp_path, FEW_FEATURES, sessions=17 * 7 + 1)
    options = {"batch_size": 7, "epochs": range(2), "skip": 3}
    whole = session_ids(data, **options)
    parts = session_ids(data, **options, replicas=3)
    assert [parts[i] + parts[i + 1] + parts[i + 2] for i in range(0, len(parts), 3)] == whole
    assert [len(part) for part in parts[:3]] == [2, 2, 3]
    assert sorted(len(part) for part in parts[3 * whole.index(min(whole, key=len)) :][:3]) == [0, 0, 1]
    for own in (range(2), range(2, 3)):
        of_worker = session_ids(data, **options, replicas=3, own=own)
        assert of_worker == [part for index, part in enumerate(parts) if index % 3 in own]


def test_the_windows_batches_are_in_orders_of_their_own(tmp_path: Path) -> None:
    """A window's batches are made from few candidates to many: in one order for all they would have a pattern."""
    data = write_tiny_data(tmp_path, FEW_FEATURES, sessions=5 * 64)
    candidates = {
        name: index for index, name in enumerate(chain(*session_ids(data, shuffle_buffer=None, batch_size=5 * 64)))
    }
    means = np.array([np.mean([candidates[name] for name in batch]) for batch in session_ids(data)]).reshape(5, 16)
    assert len({tuple(np.argsort(window)) for window in means}) == 5


def test_so_many_records_of_each_file(tmp_path: Path) -> None:
    data = write_tiny_data(tmp_path, FEW_FEATURES, sessions=20)
    first, second = data.files("train")
    (kept,) = raw_dataset([first, second], FEW_FEATURES.features, batch_size=32, records=[3, 10], sessions=13)
    (of_first,) = raw_dataset([first], FEW_FEATURES.features, batch_size=3).take(1)
    (of_second,) = raw_dataset([second], FEW_FEATURES.features, batch_size=32)
    expected = sorted((*of_first["session_id"].numpy(), *of_second["session_id"].numpy()))
    assert sorted(kept["session_id"].numpy()) == expected
    assert sorted(chain(*session_ids(data, records=[3, 10], sessions=13))) == expected


def test_a_batch_is_of_sessions_alike_in_length(tmp_path: Path) -> None:
    data = write_tiny_data(tmp_path, SCENARIO, sessions=400, seed=5)

    def padding(batches: list[dict[str, tf.Tensor]]) -> float:
        assert sum(len(batch["session_id"]) for batch in batches) == 400
        pairs = sum(np.prod(batch["candidate_item_id"].shape) * batch["behavior_brand"].shape[1] for batch in batches)
        real = sum(int(tf.reduce_sum(batch["candidate_count"] * batch["behavior_count"])) for batch in batches)
        return pairs / real

    as_they_come = padding(list(raw_dataset(data.files("train"), FEATURES, batch_size=8)))
    assert padding(read(data)) < 0.8 * as_they_come
    assert padding(read(data, shuffle_buffer=400, seed=1)) < 0.8 * as_they_come


def test_a_broken_file_is_named(data: PreparedData) -> None:
    good, broken = data.files("train")
    Path(broken).write_bytes(Path(broken).read_bytes()[:-40])
    with (
        pytest.raises(InputError, match=r"00001-of-00002\.tfrecord\.gz: broken after \d+ records, at byte .*; mend it"),
        broken_files_named([good, broken], FEATURES, "mend it"),
    ):
        read(data)


def test_a_record_without_a_column_is_named(data: PreparedData) -> None:
    file = data.files("train")[0]
    with tf.io.TFRecordWriter(file, options="GZIP") as writer:
        writer.write(tf.train.Example().SerializeToString())
    with (
        pytest.raises(InputError, match=r"00000-of-00002\.tfrecord\.gz: record 1 is broken .*; preprocess again"),
        broken_files_named(data.files("train"), FEATURES),
    ):
        read(data)


def test_a_count_that_disagrees_with_the_values_is_an_error(data: PreparedData) -> None:
    file = Path(data.files("train")[0])
    records = list(tf.data.TFRecordDataset(str(file), "GZIP").as_numpy_iterator())
    example = tf.train.Example.FromString(records[5])
    example.features.feature["candidate_price"].float_list.value.append(1.0)
    with tf.io.TFRecordWriter(str(file), options="GZIP") as writer:
        for record in (*records[:5], example.SerializeToString(), *records[6:]):
            writer.write(record)
    with (
        pytest.raises(InputError, match=r"record 6 is broken \(.*candidate_price has another number of values"),
        broken_files_named(data.files("train"), FEATURES),
    ):
        read(data)


@pytest.mark.parametrize(
    "error",
    [
        tf.errors.ResourceExhaustedError(None, None, "OOM when allocating a tensor"),
        tf.errors.UnavailableError(None, None, "Connection reset by peer"),
        tf.errors.FailedPreconditionError(None, None, "/mnt/checkpoints: Not a directory"),
    ],
)
def test_what_is_no_files_fault_is_not_told_as_one(error: tf.errors.OpError, data: PreparedData) -> None:
    with pytest.raises(type(error)), broken_files_named(data.files("train"), FEATURES):
        raise error


def test_a_file_that_lost_all_its_sessions_is_noticed(data: PreparedData) -> None:
    Path(data.files("train")[1]).write_bytes(b"")  # TensorFlow reads this as no records
    with (
        pytest.raises(InputError, match=r"00001-of-00002\.tfrecord\.gz: broken after 0 records.* is empty"),
        broken_files_named(data.files("train"), FEATURES),
    ):
        read(data, sessions=20)


def test_sessions_that_the_files_do_not_have_are_noticed(data: PreparedData) -> None:
    with (
        pytest.raises(InputError, match=r"incomplete .* contain 21 elements .* preprocess again"),
        broken_files_named(data.files("train"), FEATURES),
    ):
        read(data, sessions=21)


def test_another_error_passes_through(data: PreparedData) -> None:
    with pytest.raises(tf.errors.InternalError), broken_files_named(data.files("train"), FEATURES):
        raise tf.errors.InternalError(None, None, "not about a file")
