"""How far damaged TFRecord files can be read."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from model.readable_part import readable_part

RECORDS = 200


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Records of 50, 51, ... random bytes, which gzip makes no smaller."""
    path, rng = tmp_path / "records.tfrecord.gz", np.random.default_rng(0)
    with tf.io.TFRecordWriter(str(path), options="GZIP") as writer:
        for index in range(RECORDS):
            writer.write(rng.bytes(50 + index))
    return path


def size_of(records: int) -> int:
    return sum(16 + 50 + index for index in range(records))


def flip(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 16]) + data[place + 1 :]


def test_a_whole_file(file: Path) -> None:
    assert readable_part(str(file)) == (RECORDS, size_of(RECORDS), "")


@pytest.mark.parametrize("cut", [0, 1, 5, 40, 1000, 20_000, -40, -8, -1])
def test_a_truncated_file(file: Path, cut: int) -> None:
    """Wherever it ends: TensorFlow takes many of these places for the end of the file."""
    file.write_bytes(file.read_bytes()[:cut])
    part = readable_part(str(file))
    assert part.error
    assert part.size == size_of(part.records)
    assert (part.records < RECORDS) == (cut not in (-8, -1))
    assert len(list(tf.data.TFRecordDataset(str(file), "GZIP").take(part.records))) == part.records


@pytest.mark.parametrize("place", [0, 3, 12, 500, 20_000, -3])
def test_a_flipped_bit_of_the_compressed_file(file: Path, place: int) -> None:
    data = file.read_bytes()
    file.write_bytes(flip(data, place % len(data)))
    part = readable_part(str(file))
    if place != 3:  # that byte of gzip's header is a flag, here one of no consequence
        assert part.error
    assert part.size == size_of(part.records)
    assert len(list(tf.data.TFRecordDataset(str(file), "GZIP").take(part.records))) == part.records


@pytest.mark.parametrize(("byte", "records"), [(3, 0), (20, 0), (10_000, 90), (size_of(RECORDS) - 1, RECORDS - 1)])
def test_a_flipped_bit_that_was_compressed_is_in_the_record_that_the_size_says(
    file: Path, byte: int, records: int
) -> None:
    file.write_bytes(gzip.compress(flip(gzip.decompress(file.read_bytes()), byte)))
    part = readable_part(str(file))
    assert part == (records, size_of(records), part.error)
    assert part.error.startswith("corrupted record at ")
    assert not {"{", "["} & set(part.error), "a place in the graph is left"


def test_what_is_no_such_file(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello " * 100)
    part = readable_part(str(tmp_path / "text"))
    assert (part.records, part.size) == (0, 0)
    assert part.error
    assert readable_part(str(tmp_path / "none"))[:2] == (0, 0)
    assert "No such file" in readable_part(str(tmp_path / "none")).error
