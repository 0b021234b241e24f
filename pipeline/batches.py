"""Arrow batches in Beam: their coder, and cutting and joining them. Importing it registers the coder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import InputError


class RecordBatchCoder(beam.coders.Coder):
    """A batch between two stages is one Arrow IPC stream; its rows never become Python objects."""

    def encode(self, value: pa.RecordBatch) -> bytes:
        """The batch as an IPC stream."""
        sink = pa.BufferOutputStream()
        write_batch(value, sink)
        return sink.getvalue().to_pybytes()

    def decode(self, encoded: bytes) -> pa.RecordBatch:
        """The batch of an IPC stream; its buffers stay in `encoded`."""
        return read_batch(encoded)

    def is_deterministic(self) -> bool:
        """One batch has one encoding."""
        return True

    def to_type_hint(self) -> type:
        """What it encodes."""
        return pa.RecordBatch


beam.coders.registry.register_coder(pa.RecordBatch, RecordBatchCoder)


class GatherBatches(beam.PTransform):
    """All batches to one value, for a side input: one element, also when there is no batch.

    Args:
        schema: of the batches; of the empty batch where there is none.
        function: from the one big batch (rows in no certain order) to the value.
    """

    def __init__(self, schema: pa.Schema, function: Callable[[pa.RecordBatch], pa.RecordBatch]) -> None:
        super().__init__()
        self._schema = schema
        self._function = function

    def expand(self, batches: beam.PCollection) -> beam.PCollection:
        """One group of everything; the empty batch makes the group exist."""
        schema, function = self._schema, self._function
        empty = batches.pipeline | "MakeEmptyBatch" >> beam.Create([concat_batches([], schema)], reshuffle=False)
        # Keyed before they meet: Beam's runners for Flink and Spark may refuse a `Flatten` whose input
        # another transform reads too (apache/beam#34647).
        keyed = tuple(
            part | f"Key{name}" >> beam.WithKeys(0).with_output_types(tuple[int, pa.RecordBatch])
            for name, part in (("All", batches), ("Empty", empty))
        )
        return (
            keyed
            | "AddEmptyBatch" >> beam.Flatten()
            | "GroupAll" >> beam.GroupByKey()
            | "Gather"
            >> beam.MapTuple(lambda _, parts: function(concat_batches(parts, schema))).with_output_types(pa.RecordBatch)
        )


def write_batch(batch: pa.RecordBatch, sink: pa.NativeFile) -> None:
    """Appends the batch to a stream of bytes."""
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)


def read_batch(source: bytes | pa.NativeFile) -> pa.RecordBatch:
    """The batch that was written at the source's place; without a copy where the source allows it."""
    return pa.ipc.open_stream(source).read_next_batch()


def concat_batches(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> pa.RecordBatch:
    """The rows of all batches in one batch of exactly this schema, also when there is no batch."""
    same = [batch.select(schema.names).cast(schema) for batch in batches]
    if not same:
        return pa.RecordBatch.from_arrays([pa.array([], field.type) for field in schema], schema=schema)
    return join_batches(same)


def join_batches(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    """The rows of batches of one schema, at least one, in one batch.

    Raises:
        InputError: a text column has more than 2 GiB, Arrow's limit.
    """
    try:
        return pa.concat_batches(batches)
    except pa.ArrowInvalid as error:
        if "overflow" not in str(error):
            raise
        raise InputError(
            "a shard has more than 2 GiB of text in one column; give a larger pipeline.shards, for instance 4 times "
            "what the manifest of a smaller run says"
        ) from error


def split_batch(batch: pa.RecordBatch, key: np.ndarray) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Cuts a batch by an integer for each row; yields each key with its rows, in their order."""
    if not batch.num_rows:
        return
    if key.min() >= 0 and key.max() < 2**16:
        key = key.astype(np.uint16)  # which NumPy sorts by radix, several times faster
    order = np.argsort(key, kind="stable")
    ordered = batch.take(pa.array(order))
    keys, starts = np.unique(key[order], return_index=True)
    for value, start, end in zip(keys, starts, [*starts[1:], len(key)], strict=True):
        yield int(value), ordered.slice(start, end - start)


def least_of_each(batch: pa.RecordBatch, key: str) -> pa.RecordBatch:
    """Sorted by the key column, one row of each key: the least one, whatever the order of the rows."""
    if pc.count_distinct(batch.column(key)).as_py() == batch.num_rows:
        return batch.sort_by(key)
    names = [key, *(name for name in batch.schema.names if name != key)]
    sortable = pa.table([_sortable(batch.column(name)) for name in names], names)
    batch = batch.take(pc.sort_indices(sortable, [(name, "ascending") for name in names]))
    keys = batch.column(key)
    return batch.filter(pa.array(np.append(True, pc.not_equal(keys[1:], keys[:-1]).to_numpy(zero_copy_only=False))))


def _sortable(column: pa.Array) -> pa.Array:
    """Arrow sorts no lists; as texts they have an order too."""
    if not pa.types.is_list(column.type):
        return column
    # A zero byte, as no text has: `a,b` and `c` are not `a` and `b,c`.
    return pc.binary_join(column.cast(pa.list_(pa.string())), "\0")
