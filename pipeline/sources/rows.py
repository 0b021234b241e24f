"""The rules every raw row meets, whatever file it came from: types, required fields, times, prices.

A reader declares its columns with `column` and gives what it read to `check_rows`, which
returns clean columns of the good rows and a reason for each bad one. Rules work on whole
columns; no Python runs a row.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import InputError
from pipeline.ranges import offsets_of

#: Type of a time column in a reader's schema; it leaves `check_rows` as int64 seconds since 1970 UTC.
TIME = pa.timestamp("s")
#: The same where integers are milliseconds.
MILLISECONDS = pa.timestamp("ms")
#: 2101-01-01: a later time is a wrong unit (milliseconds) rather than a time.
_TIME_LIMIT = 4_133_980_800

_Problem = tuple[np.ndarray, str]  # (mask of the bad rows, reason)


def column(
    name: str,
    type: pa.DataType,
    *,
    required: bool = False,
    allowed: tuple[str, ...] = (),
    separator: str = "",
    decimals: bool = False,
    non_negative: bool = False,
) -> pa.Field:
    """Declares a raw column.

    Args:
        type: text is `pa.string()`, a number `pa.float32()`, a time `TIME` or `MILLISECONDS`;
            also bool, lists and structs of these.
        required: a row without it is bad, and so is an empty text or list.
            A missing optional text is "", number NaN, flag false, list empty.
        allowed: the values a text may have; default any.
        separator: joins the values of a text that is given as a list, missing ones left out;
            without it a list is no text.
        decimals: a text may be given as any number; without it only as an integer, since a
            decimal number has several ways to be written, and so is no id.
        non_negative: a number below 0 makes the row bad.
    """
    metadata = {
        "allowed": "|".join(allowed),
        "separator": separator,
        "decimals": "yes" if decimals else "",
        "non_negative": "yes" if non_negative else "",
    }
    return pa.field(name, type, nullable=not required, metadata=metadata)


def separator_of(field: pa.Field) -> str:
    """What joins the values of a text column that is given as a list; empty where it cannot be."""
    return _annotation(field, b"separator")


def takes_decimals(field: pa.Field) -> bool:
    """Whether a text column may be given as a number with a fraction."""
    return bool(_annotation(field, b"decimals"))


def check_rows(raw: pa.RecordBatch, schema: pa.Schema) -> tuple[pa.RecordBatch, dict[int, str]]:
    """Brings raw columns to the schema and finds the rows that break its rules.

    Integers given for text become text; line breaks in text become spaces; times (integers
    in the column's unit, ISO 8601 text, Arrow timestamps) become int64 seconds. Columns that the schema
    does not name are left out.

    Returns:
        The good rows in their order, and the bad rows' positions in `raw` with the first reason.

    Raises:
        InputError: a column has a type that can never fit.
    """
    columns: list[pa.Array] = []
    problems: list[_Problem] = []
    for field in schema:
        clean, found = _clean(_column(raw, field.name), field, field.name)
        columns.append(clean)
        problems += found
    good = np.ones(raw.num_rows, bool)
    reasons: dict[int, str] = {}
    for mask, reason in problems:
        good &= ~mask
        for row in np.flatnonzero(mask):
            reasons.setdefault(int(row), reason)
    batch = pa.RecordBatch.from_arrays(columns, names=schema.names)
    return (batch if not reasons else batch.filter(pa.array(good))), reasons


def _column(raw: pa.RecordBatch, name: str) -> pa.Array:
    return raw.column(name) if name in raw.schema.names else pa.nulls(raw.num_rows)


def _clean(array: pa.Array, field: pa.Field, path: str) -> tuple[pa.Array, list[_Problem]]:
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    kind = field.type
    problems: list[_Problem] = []
    missing = array.is_null().to_numpy(zero_copy_only=False)
    if not field.nullable and missing.any():
        problems.append((missing, f"lacks `{path}`"))
    if pa.types.is_string(kind):
        clean, invalid = _text(array, field, path)
        problems.append((invalid, f"`{path}` is no UTF-8"))
        if not field.nullable:
            problems.append(
                (pc.equal(clean, "").to_numpy(zero_copy_only=False) & ~missing & ~invalid, f"`{path}` is empty")
            )
        if allowed := _annotation(field, b"allowed"):
            other = pc.invert(pc.is_in(clean, pa.array(allowed.split("|")))).to_numpy(zero_copy_only=False)
            problems.append((other & ~missing, f"`{path}` is none of {allowed.replace('|', ', ')}"))
    elif pa.types.is_floating(kind):
        values = _numbers(array, path)
        problems.append((~missing & ~np.isfinite(values), f"`{path}` is not a finite number"))
        if _annotation(field, b"non_negative"):
            problems.append((values < 0, f"`{path}` is negative"))
        clean = pa.array(values)
    elif pa.types.is_timestamp(kind):
        unit, per_second = ("milliseconds", 1000) if kind == MILLISECONDS else ("seconds", 1)
        seconds = _seconds(array, path, unit, per_second)
        values = pc.fill_null(seconds, 0).to_numpy(zero_copy_only=False)
        problems.append((seconds.is_null().to_numpy(zero_copy_only=False) & ~missing, f"`{path}` is no time"))
        problems.append(((values < 0) | (values >= _TIME_LIMIT), f"`{path}` is before 1970 or after 2100 (in {unit})"))
        clean = pa.array(values, pa.int64())
    elif pa.types.is_boolean(kind):
        clean = pc.fill_null(_cast(array, pa.bool_(), path, "true or false"), False)
    elif pa.types.is_list(kind):
        clean, found = _list(array, field, path)
        problems += found
        if not field.nullable:
            problems.append(
                (pc.equal(pc.list_value_length(clean), 0).to_numpy(zero_copy_only=False), f"`{path}` is empty")
            )
    elif pa.types.is_struct(kind):
        clean, found = _struct(array, field, path)
        problems += found
    else:
        raise TypeError(f"{path}: no rule for columns of type {kind}")
    return clean, [(mask, reason) for mask, reason in problems if mask.any()]


def _text(array: pa.Array, field: pa.Field, path: str) -> tuple[pa.Array, np.ndarray]:
    """Clean text, and where it was no UTF-8: Parquet files say it is, and reading does not check."""
    separator = separator_of(field)
    if separator and _is_list(array.type) and _fits_text(array.type.value_type):
        array = pc.binary_join(_without_nulls(array.cast(pa.list_(pa.string()))), separator)
    elif not (_fits_text(array.type) or (takes_decimals(field) and pa.types.is_floating(array.type))):
        raise InputError(f"column `{path}` is {array.type}, not text")
    text = pc.fill_null(array.cast(pa.string()), "")
    invalid = np.zeros(len(text), bool)
    try:
        text.validate(full=True)
    except pa.ArrowInvalid:
        invalid = np.array([not _is_utf8(value) for value in text.cast(pa.binary()).to_pylist()])
        text = pc.if_else(pa.array(invalid), "", text)
    # A vocabulary file has one value a line.
    if pc.any(pc.match_substring_regex(text, r"[\r\n]")).as_py():
        text = pc.replace_substring_regex(text, r"[\r\n]+", " ")
    return text, invalid


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _without_nulls(lists: pa.ListArray) -> pa.ListArray:
    values = lists.flatten()
    if not values.null_count:
        return lists
    present = values.is_valid()
    owner = _owners(lists)[present.to_numpy(zero_copy_only=False)]
    return pa.ListArray.from_arrays(pa.array(offsets_of(owner, len(lists)), pa.int32()), values.filter(present))


def _owners(lists: pa.Array) -> np.ndarray:
    """The row of each of the lists' values."""
    return np.repeat(np.arange(len(lists)), pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False))


def _numbers(array: pa.Array, path: str) -> np.ndarray:
    if _is_text(array.type) or pa.types.is_boolean(array.type):
        raise InputError(f"column `{path}` is {array.type}, not a number")
    values = pc.fill_null(_cast(array, pa.float64(), path, "a number"), float("nan"))
    with np.errstate(over="ignore"):  # too large for float32 becomes infinite, which is bad anyway
        return values.to_numpy(zero_copy_only=False).astype(np.float32)


def _seconds(array: pa.Array, path: str, unit: str, per_second: int) -> pa.Array:
    """Seconds since 1970 UTC; null where it is no time."""
    if pa.types.is_null(array.type) or pa.types.is_integer(array.type):
        return pc.divide(array.cast(pa.int64(), safe=False), per_second)
    if pa.types.is_date(array.type):
        array = array.cast(pa.timestamp("s"), safe=False)
    if pa.types.is_timestamp(array.type):
        return pc.divide(array.cast(pa.int64()), {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[array.type.unit])
    if _is_text(array.type):
        array = array.cast(pa.string())
        digits = pc.match_substring_regex(array, r"^-?\d{1,15}$")
        numbers = pc.divide(pc.if_else(digits, array, None).cast(pa.int64()), per_second)
        # pandas would also take "now" and "today".
        dates = pc.if_else(pc.match_substring_regex(array, r"^\d{4}-\d\d"), array, None)
        parsed = pd.to_datetime(dates.to_pandas(), utc=True, errors="coerce", format="ISO8601")
        seconds = parsed.dt.as_unit("s").astype("int64").where(parsed.notna())
        return pc.coalesce(numbers, pa.array(seconds, pa.int64(), from_pandas=True))
    raise InputError(f"column `{path}` is {array.type}, not integer {unit}, ISO 8601 text or a timestamp")


def _list(array: pa.Array, field: pa.Field, path: str) -> tuple[pa.Array, list[_Problem]]:
    if pa.types.is_null(array.type):
        array = array.cast(pa.list_(pa.null()))
    if not _is_list(array.type):
        raise InputError(f"column `{path}` is {array.type}, not a list")
    owners = _owners(array)
    values, found = _clean(array.flatten(), field.type.value_field, path)
    problems = [(np.bincount(owners[mask], minlength=len(array)) > 0, reason) for mask, reason in found]
    return pa.ListArray.from_arrays(pa.array(offsets_of(owners, len(array)), pa.int32()), values), problems


def _struct(array: pa.Array, field: pa.Field, path: str) -> tuple[pa.Array, list[_Problem]]:
    if pa.types.is_null(array.type):
        array = array.cast(pa.struct([]))
    if not pa.types.is_struct(array.type):
        raise InputError(f"column `{path}` is {array.type}, not an object")
    given = {array.type.field(i).name for i in range(array.type.num_fields)}
    columns: list[pa.Array] = []
    problems: list[_Problem] = []
    for child in field.type:
        raw = pc.struct_field(array, child.name) if child.name in given else pa.nulls(len(array))
        clean, found = _clean(raw, child, f"{path}.{child.name}")
        columns.append(clean)
        problems += found
    return pa.StructArray.from_arrays(columns, names=[child.name for child in field.type]), problems


def _cast(array: pa.Array, to: pa.DataType, path: str, what: str) -> pa.Array:
    try:
        return array.cast(to, safe=False)  # a large integer may lose digits
    except pa.ArrowException:
        raise InputError(f"column `{path}` is {array.type}, not {what}") from None


def _fits_text(kind: pa.DataType) -> bool:
    return _is_text(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind)


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind)


def _annotation(field: pa.Field, key: bytes) -> str:
    return (field.metadata or {}).get(key, b"").decode()
