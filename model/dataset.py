"""TFRecords of sessions to `tf.data` batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import tensorflow as tf

from model.preprocessing import Preprocessing
from pipeline.errors import InputError
from pipeline.features import RECORD_COLUMNS, Axis, Features, InputSpec

_FILES_AT_ONCE = 16
_COUNT: dict[Axis, str] = {"T": "behavior_count", "N": "candidate_count"}
#: Batches in a window whose sessions are put in order of length: `_SIDE` by candidates, times `_SIDE` by behaviours.
_SIDE = 4


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

    Sessions are batched with others alike in length, so their order is not that of the files.

    Args:
        files: gzipped TFRecords of `tf.train.Example`, one a session.
        batch_size: sessions.
        sessions: how many the files must hold; Keras then shows how far an epoch is.
        shuffle_buffer: sessions; default: no shuffling, the same batches each time.
        seed: of the shuffling; each epoch shuffles anew.
    """

    def encode(raw: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        kept = {name: raw[name] for name in ("candidate_label", "session_id", "user_id")}
        fingerprint = tf.strings.to_hash_bucket_fast(raw["user_id"], 2**62)
        return {**preprocessing(raw), **kept, "user_fingerprint": fingerprint}

    examples = _examples(files, sessions, shuffle_buffer, seed)
    specs = (*features.score_inputs, *RECORD_COLUMNS)
    windows = examples.batch(_SIDE * _SIDE * batch_size)
    windows = windows.map(lambda window: _by_length(_parse(window, specs), batch_size), num_parallel_calls=2)
    batches = windows.flat_map(lambda window: _batches(window, batch_size, bool(shuffle_buffer), seed))
    raw_batches = batches.map(lambda batch: _padded(batch, specs), num_parallel_calls=tf.data.AUTOTUNE)
    return raw_batches.map(encode, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def raw_dataset(
    files: Sequence[str], features: Features, *, batch_size: int, sessions: int | None = None
) -> tf.data.Dataset:
    """Batches of sessions in order of the files, raw values padded with "" and 0.

    Args:
        files: gzipped TFRecords of `tf.train.Example`, one a session.
        batch_size: sessions.
        sessions: how many the files must hold.
    """
    batches = _examples(files, sessions).batch(batch_size)
    return batches.map(lambda batch: raw_batch(batch, features), num_parallel_calls=tf.data.AUTOTUNE)


def raw_batch(serialized: tf.Tensor, features: Features) -> dict[str, tf.Tensor]:
    """Serialized `tf.train.Example` `[B]`, one a session, as one batch of `raw_dataset`.

    Raises:
        tf.errors.InvalidArgumentError: one is damaged or lacks a column.
    """
    specs = (*features.score_inputs, *RECORD_COLUMNS)
    return _padded(_parse(serialized, specs), specs)


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


def _examples(
    files: Sequence[str], sessions: int | None, shuffle_buffer: int | None = None, seed: int | None = None
) -> tf.data.Dataset:
    """Serialized sessions."""
    paths = tf.data.Dataset.from_tensor_slices(list(files))
    if shuffle_buffer:
        paths = paths.shuffle(len(files), seed)
    examples = paths.interleave(_read, cycle_length=_FILES_AT_ONCE)
    if sessions is not None:
        examples = examples.apply(tf.data.experimental.assert_cardinality(sessions))
    return examples.shuffle(shuffle_buffer, seed) if shuffle_buffer else examples


def _read(path: tf.Tensor) -> tf.data.Dataset:
    return tf.data.TFRecordDataset(path, compression_type="GZIP")


def _parse(serialized: tf.Tensor, specs: Sequence[InputSpec]) -> dict[str, tf.Tensor | tf.RaggedTensor]:
    """Columns as they are in the records: `[B]`, and ragged `[B, (T)]` and `[B, (N)]`."""
    parsed = tf.io.parse_example(serialized, {spec.name: _column(spec) for spec in specs})
    for spec in specs:
        if spec.axis:
            tf.debugging.assert_equal(
                parsed[spec.name].row_lengths(),
                parsed[_COUNT[spec.axis]],
                f"{spec.name} has another number of values than its count says",
            )
    return parsed


def _by_length(window: dict[str, tf.Tensor], batch_size: int) -> dict[str, tf.Tensor]:
    """A window's sessions so that each batch's are alike in candidates and behaviours, and little is padding."""
    by_candidates = tf.argsort(tf.argsort(window["candidate_count"]))  # the rank of each session
    group = tf.cast(by_candidates // (_SIDE * batch_size), tf.int64)
    order = tf.argsort(group * (1 + tf.reduce_max(window["behavior_count"])) + window["behavior_count"])
    return {name: tf.gather(column, order) for name, column in window.items()}


def _batches(window: dict[str, tf.Tensor], batch_size: int, shuffle: bool, seed: int | None) -> tf.data.Dataset:
    sessions = tf.shape(window["candidate_count"], tf.int64)[0]
    starts = tf.data.Dataset.range(0, sessions, batch_size)
    if shuffle:
        starts = starts.shuffle(_SIDE * _SIDE, seed)
    return starts.map(lambda start: {name: column[start : start + batch_size] for name, column in window.items()})


def _column(spec: InputSpec) -> tf.io.RaggedFeature | tf.io.FixedLenFeature:
    dtype = tf.dtypes.as_dtype(spec.dtype)
    return tf.io.RaggedFeature(dtype, row_splits_dtype=tf.int64) if spec.axis else tf.io.FixedLenFeature([], dtype)


def _padded(batch: dict[str, tf.Tensor], specs: Sequence[InputSpec]) -> dict[str, tf.Tensor]:
    sizes = {axis: tf.maximum(tf.reduce_max(batch[count]), 1) for axis, count in _COUNT.items()}
    return {
        spec.name: batch[spec.name].to_tensor(shape=tf.stack([-1, sizes[spec.axis]])) if spec.axis else batch[spec.name]
        for spec in specs
    }


def _first_line(error: tf.errors.OpError) -> str:
    return str(error.message).strip().splitlines()[0].removeprefix("{{function_node")
