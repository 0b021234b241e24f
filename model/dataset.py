"""TFRecords of sessions to `tf.data` batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import tensorflow as tf

from model.preprocessing import Preprocessing
from pipeline.errors import InputError
from pipeline.features import RECORD_COLUMNS, Features, InputSpec

_FILES_AT_ONCE = 16


def session_dataset(
    files: Sequence[str],
    features: Features,
    preprocessing: Preprocessing,
    *,
    batch_size: int,
    sessions: int | None = None,
    shuffle_buffer: int | None = None,
    seed: int | None = None,
) -> tf.data.Dataset:
    """Batches of encoded sessions, as Keras `fit` takes them.

    Each is a dict of what `Preprocessing` gives, and `candidate_label` `[B, N]`,
    `session_id` `[B]`, `user_id` `[B]`, `user_fingerprint` int64 `[B]`. `T` and `N` are the
    batch's largest counts, at least 1.

    Args:
        files: gzipped TFRecords of `tf.train.Example`, one a session.
        batch_size: sessions.
        sessions: how many the files must hold; Keras then shows how far an epoch is.
        shuffle_buffer: sessions; default: in order of the files.
        seed: of the shuffling; each epoch shuffles anew.
    """

    def encode(raw: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        kept = {name: raw[name] for name in ("candidate_label", "session_id", "user_id")}
        fingerprint = tf.strings.to_hash_bucket_fast(raw["user_id"], 2**62)
        return {**preprocessing(raw), **kept, "user_fingerprint": fingerprint}

    raw_batches = raw_dataset(
        files, features, batch_size=batch_size, sessions=sessions, shuffle_buffer=shuffle_buffer, seed=seed
    )
    return raw_batches.map(encode, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def raw_dataset(
    files: Sequence[str],
    features: Features,
    *,
    batch_size: int,
    sessions: int | None = None,
    shuffle_buffer: int | None = None,
    seed: int | None = None,
) -> tf.data.Dataset:
    """Batches of sessions with raw values, padded with "" and 0; arguments as of `session_dataset`."""
    specs = (*features.score_inputs, *RECORD_COLUMNS)
    paths = tf.data.Dataset.from_tensor_slices(list(files))
    if shuffle_buffer:
        paths = paths.shuffle(len(files), seed)
    examples = paths.interleave(_read, cycle_length=_FILES_AT_ONCE)
    if sessions is not None:
        examples = examples.apply(tf.data.experimental.assert_cardinality(sessions))
    if shuffle_buffer:
        examples = examples.shuffle(shuffle_buffer, seed)
    return examples.batch(batch_size).map(lambda batch: _parse(batch, specs), num_parallel_calls=tf.data.AUTOTUNE)


@contextmanager
def broken_files_named(files: Sequence[str], features: Features) -> Iterator[None]:
    """Turns an error while reading `files` into one that names the file.

    Raises:
        InputError: a file is truncated, no gzipped TFRecord, or lacks a column; or together
            they do not hold as many sessions as they must.
    """
    try:
        yield
    except tf.errors.OpError as failure:
        # TensorFlow's error does not say which file it was; only now is it worth reading each alone.
        for file in files:
            try:
                for _ in raw_dataset([file], features, batch_size=256):
                    pass
            except tf.errors.OpError as error:
                raise InputError(f"{file}: broken ({_first_line(error)}); preprocess again") from error
        if isinstance(failure, tf.errors.FailedPreconditionError):  # of `assert_cardinality`
            directory = Path(files[0]).parent.parent
            raise InputError(f"{directory}: incomplete ({_first_line(failure)}); preprocess again") from failure
        raise


def _read(path: tf.Tensor) -> tf.data.Dataset:
    return tf.data.TFRecordDataset(path, compression_type="GZIP")


def _parse(serialized: tf.Tensor, specs: Sequence[InputSpec]) -> dict[str, tf.Tensor]:
    parsed = tf.io.parse_example(serialized, {spec.name: _column(spec) for spec in specs})
    counts = {"T": parsed["behavior_count"], "N": parsed["candidate_count"]}
    return {
        spec.name: _padded(spec.name, parsed[spec.name], counts[spec.axis]) if spec.axis else parsed[spec.name]
        for spec in specs
    }


def _column(spec: InputSpec) -> tf.io.RaggedFeature | tf.io.FixedLenFeature:
    dtype = tf.dtypes.as_dtype(spec.dtype)
    return tf.io.RaggedFeature(dtype, row_splits_dtype=tf.int64) if spec.axis else tf.io.FixedLenFeature([], dtype)


def _padded(name: str, lists: tf.RaggedTensor, counts: tf.Tensor) -> tf.Tensor:
    tf.debugging.assert_equal(lists.row_lengths(), counts, f"{name} has another number of values than its count says")
    return lists.to_tensor(shape=tf.stack([-1, tf.maximum(tf.reduce_max(counts), 1)]))


def _first_line(error: tf.errors.OpError) -> str:
    return str(error.message).strip().splitlines()[0].removeprefix("{{function_node")
