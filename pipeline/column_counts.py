"""Counts of all columns' values in one table, as they are stored for each part and day."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

#: A row is a value of a column: `text` or `number` (both null: a missing number), and how often it occurs.
COLUMN_COUNTS = pa.schema(
    [("column", pa.string()), ("text", pa.string()), ("number", pa.float64()), ("count", pa.int64())]
)


def pack_counts(counts: Iterable[tuple[str, pa.RecordBatch]]) -> pa.RecordBatch:
    """Pairs of (column, batch with `value` and `count`) to one batch in `COLUMN_COUNTS`."""
    batches = []
    for column, batch in counts:
        value, rows = batch.column("value"), batch.num_rows
        is_text = pa.types.is_string(value.type)
        columns = [
            pa.repeat(column, rows),
            value if is_text else pa.nulls(rows, pa.string()),
            pa.nulls(rows, pa.float64()) if is_text else value,
            batch.column("count"),
        ]
        batches.append(pa.RecordBatch.from_arrays(columns, schema=COLUMN_COUNTS))
    return pa.concat_batches(batches)


def add_up_counts(batches: Iterable[pa.RecordBatch]) -> pa.RecordBatch:
    """Each value of each column once, sorted, from batches in `COLUMN_COUNTS`."""
    keys = ["column", "text", "number"]
    table = pa.Table.from_batches(batches, COLUMN_COUNTS)
    summed = table.group_by(keys, use_threads=False).aggregate([("count", "sum")])
    summed = summed.sort_by([(key, "ascending") for key in keys]).combine_chunks()
    return pa.RecordBatch.from_arrays(
        [summed[name].combine_chunks() for name in (*keys, "count_sum")], schema=COLUMN_COUNTS
    )


def unpack_counts(packed: pa.RecordBatch) -> dict[str, pa.RecordBatch]:
    """A batch of `add_up_counts` to the batches with `value` and `count`, by column."""
    runs = pc.run_end_encode(packed.column("column"))
    unpacked, start = {}, 0
    for column, end in zip(runs.values.to_pylist(), runs.run_ends.to_pylist(), strict=True):
        rows = packed.slice(start, end - start)
        text = rows.column("text")
        value = rows.column("number") if text.null_count else text
        unpacked[column] = pa.RecordBatch.from_arrays([value, rows.column("count")], names=["value", "count"])
        start = end
    return unpacked
