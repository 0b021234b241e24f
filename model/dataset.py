"""TFRecords of sessions to `tf.data` batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import reduce
from pathlib import Path

import numpy as np
import tensorflow as tf

from model.preprocessing import Preprocessing
from model.readable_part import first_line, readable_part
from pipeline.errors import InputError
from pipeline.features import RECORD_COLUMNS, Axis, Features, InputSpec

_FILES_AT_ONCE = 16
#: What a file can be to blame for; of other errors, as of a GPU without memory, it would take a look at all of them.
_OF_FILES = (
    tf.errors.DataLossError,
    tf.errors.FailedPreconditionError,
    tf.errors.InvalidArgumentError,
    tf.errors.NotFoundError,
    tf.errors.OutOfRangeError,
    tf.errors.PermissionDeniedError,
)
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
    records: Sequence[int] | None = None,
    shuffle_buffer: int | None = None,
    seed: int = 0,
    epochs: range = range(1),
    skip: int = 0,
    weigh: Callable[[Mapping[str, tf.Tensor]], tf.Tensor] | None = None,
    replicas: int = 1,
    own: range | None = None,
) -> tf.data.Dataset:
    """Batches of encoded sessions, as Keras `fit` takes them.

    Each is a dict of what `Preprocessing` gives, and `candidate_label` `[B, N]`,
    `session_id` `[B]`, `user_id` `[B]`, `user_fingerprint` int64 `[B]`, and `candidate_label/weight` `[B, N]`
    where they are weighed. `T` and `N` are the batch's largest counts, at least 1.

    Sessions are batched with others alike in length, so their order is not that of the files.
    It is the same whenever it is read: each epoch's depends on `seed` and on the epoch's number alone,
    so that a training can go on in the middle of one.

    For several replicas each batch is cut into parts that differ by one session at most, and come one after
    the other; a part may have no session. All sessions are read, but only those of the own parts parsed.

    Args:
        files: gzipped TFRecords of `tf.train.Example`, one a session.
        batch_size: sessions, of all replicas together.
        sessions: how many the files must hold.
        records: how many of each file are read, from its beginning; default: all.
        shuffle_buffer: sessions; default: no shuffling.
        seed: of the shuffling, with that of TensorFlow (`tf.random.set_seed`).
        epochs: whose batches, one epoch's after the other's.
        skip: this many batches are left out at the beginning, less than an epoch's.
        weigh: raw sessions to weights of their candidates in the loss, as `candidate_weights` makes it.
        replicas: parts that each batch is cut into.
        own: which of them are given; default: all.
    """
    own = range(replicas) if own is None else own

    def encode(raw: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        kept = {name: raw[name] for name in ("candidate_label", "session_id", "user_id")}
        fingerprint = tf.strings.to_hash_bucket_fast(raw["user_id"], 2**62)
        if weigh:
            kept["candidate_label/weight"] = weigh(raw)
        return {**preprocessing(raw), **kept, "user_fingerprint": fingerprint}

    def windows(epoch: int) -> tf.data.Dataset:
        """Serialized sessions of so many batches, with a seed for the order of these."""
        epoch_seed = _epoch_seed(seed, epoch)
        examples = _examples(files, sessions, records, shuffle_buffer, epoch_seed)
        seeds = tf.data.Dataset.random(epoch_seed, rerandomize_each_iteration=False).batch(2)
        return tf.data.Dataset.zip(examples.batch(_SIDE * _SIDE * batch_size), seeds)

    of_epochs = reduce(tf.data.Dataset.concatenate, map(windows, epochs)).skip(skip // (_SIDE * _SIDE))
    by_length = of_epochs.map(lambda window, seed: (_by_length(window, batch_size), seed), num_parallel_calls=2)
    batches = by_length.flat_map(
        lambda window, seed: _batches(window, batch_size, seed if shuffle_buffer else None, replicas, own)
    )
    batches = batches.skip(len(own) * (skip % (_SIDE * _SIDE)))
    raw_batches = batches.map(lambda batch: raw_batch(batch, features), num_parallel_calls=tf.data.AUTOTUNE)
    return raw_batches.map(encode, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def raw_dataset(
    files: Sequence[str],
    features: Features,
    *,
    batch_size: int,
    sessions: int | None = None,
    records: Sequence[int] | None = None,
) -> tf.data.Dataset:
    """Batches of sessions in order of the files, raw values padded with "" and 0.

    Args:
        files: gzipped TFRecords of `tf.train.Example`, one a session.
        batch_size: sessions.
        sessions: how many the files must hold.
        records: how many of each file are read, from its beginning; default: all.
    """
    batches = _examples(files, sessions, records).batch(batch_size)
    return batches.map(lambda batch: raw_batch(batch, features), num_parallel_calls=tf.data.AUTOTUNE)


def raw_batch(serialized: tf.Tensor, features: Features) -> dict[str, tf.Tensor]:
    """Serialized `tf.train.Example` `[B]`, one a session, as one batch of `raw_dataset`.

    Raises:
        tf.errors.InvalidArgumentError: one is damaged or lacks a column.
    """
    specs = (*features.score_inputs, *RECORD_COLUMNS)
    return _padded(_parse(serialized, specs), specs)


@contextmanager
def broken_files_named(
    files: Sequence[str], features: Features, unreadable: str = "preprocess again"
) -> Iterator[None]:
    """Turns an error while reading `files` into one that names the file, and where in it.

    Args:
        unreadable: what to do about a file that is damaged.

    Raises:
        InputError: a file is truncated, no gzipped TFRecord, or lacks a column; or together
            they do not hold as many sessions as they must.
    """
    try:
        yield
    except _OF_FILES as failure:
        # TensorFlow's error does not say which file it was; only now is it worth reading each alone.
        for file in files:
            part = readable_part(file)
            if part.error:
                where = f"after {part.records:,} records, at byte {part.size:,} of what it decompresses to"
                raise InputError(f"{file}: broken {where} ({part.error}); {unreadable}") from failure
            _check_records(file, features)
        if isinstance(failure, tf.errors.FailedPreconditionError) and "elements" in str(failure.message):
            # of `assert_cardinality`
            directory = Path(files[0]).parent.parent
            raise InputError(f"{directory}: incomplete ({first_line(failure)}); preprocess again") from failure
        raise


def _check_records(file: str, features: Features) -> None:
    """Raises InputError where a record of a readable file is none of the features."""
    checked, at_once = 0, 256
    records = _read(tf.constant(file), tf.constant(-1, tf.int64))
    try:
        for _ in records.batch(at_once).map(lambda batch: raw_batch(batch, features)):
            checked += at_once
    except tf.errors.OpError:
        for number, record in enumerate(records.skip(checked), checked + 1):
            try:
                raw_batch(record[tf.newaxis], features)
            except tf.errors.OpError as error:
                raise InputError(
                    f"{file}: record {number:,} is broken ({first_line(error)}); preprocess again"
                ) from error


def _examples(
    files: Sequence[str],
    sessions: int | None,
    records: Sequence[int] | None,
    shuffle_buffer: int | None = None,
    seed: int | None = None,
) -> tf.data.Dataset:
    """Serialized sessions, in the same order each time."""
    of_each = tf.constant([-1] * len(files) if records is None else list(records), tf.int64)
    paths = tf.data.Dataset.from_tensor_slices((list(files), of_each))
    if shuffle_buffer:
        paths = paths.shuffle(len(files), seed, reshuffle_each_iteration=False)
    examples = paths.interleave(_read, cycle_length=_FILES_AT_ONCE)
    if sessions is not None:
        examples = examples.apply(tf.data.experimental.assert_cardinality(sessions))
    return examples.shuffle(shuffle_buffer, seed, reshuffle_each_iteration=False) if shuffle_buffer else examples


def _epoch_seed(seed: int, epoch: int) -> int:
    """Seeds that have nothing to do with each other, for seeds and epochs that are neighbours."""
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])


def _read(path: tf.Tensor, records: tf.Tensor) -> tf.data.Dataset:
    """A file's records, from the first one; -1 is all of them."""
    return tf.data.TFRecordDataset(path, compression_type="GZIP").take(records)


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


def _by_length(window: tf.Tensor, batch_size: int) -> tf.Tensor:
    """A window's serialized sessions so that each batch's are alike in candidates and behaviours: little is padding."""
    counts = tf.io.parse_example(window, {name: tf.io.FixedLenFeature([], tf.int64) for name in _COUNT.values()})
    behaviors, candidates = counts[_COUNT["T"]], counts[_COUNT["N"]]
    by_candidates = tf.argsort(tf.argsort(candidates))  # the rank of each session
    group = tf.cast(by_candidates // (_SIDE * batch_size), tf.int64)
    return tf.gather(window, tf.argsort(group * (1 + tf.reduce_max(behaviors)) + behaviors))


def _batches(window: tf.Tensor, batch_size: int, seed: tf.Tensor | None, replicas: int, own: range) -> tf.data.Dataset:
    """The own parts of a window's batches; these in random order by a seed `[2]`."""
    sessions = tf.shape(window)[0]
    starts = tf.range(0, sessions, batch_size)
    if seed is not None:
        starts = tf.random.experimental.stateless_shuffle(starts, seed)
    starts = starts[:, tf.newaxis]
    sizes = tf.minimum(batch_size, sessions - starts)
    first, end = (starts + sizes * tf.constant(parts) // replicas for parts in ([*own], [part + 1 for part in own]))
    bounds = tf.data.Dataset.from_tensor_slices((tf.reshape(first, [-1]), tf.reshape(end, [-1])))
    return bounds.map(lambda first, end: window[first:end])


def _column(spec: InputSpec) -> tf.io.RaggedFeature | tf.io.FixedLenFeature:
    dtype = tf.dtypes.as_dtype(spec.dtype)
    return tf.io.RaggedFeature(dtype, row_splits_dtype=tf.int64) if spec.axis else tf.io.FixedLenFeature([], dtype)


def _padded(batch: dict[str, tf.Tensor], specs: Sequence[InputSpec]) -> dict[str, tf.Tensor]:
    sizes = {axis: tf.maximum(tf.reduce_max(batch[count]), 1) for axis, count in _COUNT.items()}
    return {
        spec.name: batch[spec.name].to_tensor(shape=tf.stack([-1, sizes[spec.axis]])) if spec.axis else batch[spec.name]
        for spec in specs
    }
