"""TFRecords to batches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from model.dataset import broken_files_named, raw_dataset, session_dataset
from model.preprocessing import Preprocessing
from pipeline.errors import InputError
from pipeline.prepared_data import PreparedData
from tiny_data import random_raw_sessions, tiny_scenario, write_tiny_data

SCENARIO = tiny_scenario()
FEATURES = SCENARIO.features


@pytest.fixture
def data(tmp_path: Path) -> PreparedData:
    return write_tiny_data(tmp_path, SCENARIO, sessions=20, seed=3)


def read(data: PreparedData, **options: int) -> list[dict[str, tf.Tensor]]:
    preprocessing = Preprocessing(FEATURES, data.assets(FEATURES))
    return list(session_dataset(data.files("train"), FEATURES, preprocessing, **{"batch_size": 8, **options}))


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


def test_shuffling_is_by_seed_and_anew_each_epoch(data: PreparedData) -> None:
    def order(seed: int, epochs: int = 1) -> list[bytes]:
        preprocessing = Preprocessing(FEATURES, data.assets(FEATURES))
        batches = session_dataset(
            data.files("train"), FEATURES, preprocessing, batch_size=8, shuffle_buffer=50, seed=seed
        )
        return [name for _ in range(epochs) for batch in batches for name in batch["session_id"].numpy()]

    assert order(1) == order(1)
    assert order(1) != order(2)
    first, second = np.split(np.array(order(1, epochs=2)), 2)
    assert first.tolist() != second.tolist()
    assert sorted(first) == sorted(second)


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
        pytest.raises(InputError, match=r"00001-of-00002\.tfrecord\.gz: broken .* preprocess again"),
        broken_files_named([good, broken], FEATURES),
    ):
        read(data)


def test_a_record_without_a_column_is_named(data: PreparedData) -> None:
    file = data.files("train")[0]
    with tf.io.TFRecordWriter(file, options="GZIP") as writer:
        writer.write(tf.train.Example().SerializeToString())
    with pytest.raises(InputError, match="00000-of-00002"), broken_files_named(data.files("train"), FEATURES):
        read(data)


def test_a_count_that_disagrees_with_the_values_is_an_error(data: PreparedData) -> None:
    file = Path(data.files("train")[0])
    (record, *_) = tf.data.TFRecordDataset(str(file), "GZIP").as_numpy_iterator()
    example = tf.train.Example.FromString(record)
    example.features.feature["candidate_price"].float_list.value.append(1.0)
    with tf.io.TFRecordWriter(str(file), options="GZIP") as writer:
        writer.write(example.SerializeToString())
    with (
        pytest.raises(InputError, match="candidate_price has another number of values"),
        broken_files_named(data.files("train"), FEATURES),
    ):
        read(data)


def test_a_file_that_lost_all_its_sessions_is_noticed(data: PreparedData) -> None:
    Path(data.files("train")[1]).write_bytes(b"")  # TensorFlow reads this as no records
    with (
        pytest.raises(InputError, match=r"incomplete .* contain 20 elements .* preprocess again"),
        broken_files_named(data.files("train"), FEATURES),
    ):
        read(data, sessions=20)


def test_another_error_passes_through(data: PreparedData) -> None:
    with pytest.raises(tf.errors.InternalError), broken_files_named(data.files("train"), FEATURES):
        raise tf.errors.InternalError(None, None, "not about a file")
