"""JSON Lines to Arrow: one fast call a block, and a careful look at each line when that fails."""

from __future__ import annotations

import ast
import io
import json
import math
from typing import Any

import pyarrow as pa
import pyarrow.json

from pipeline.raw_tables import Reject
from pipeline.sources.rows import check_rows, separator_of, takes_decimals


class _BadLineError(Exception):
    """Why a line cannot be used."""


def parse_json_lines(
    lines: list[bytes], schema: pa.Schema, *, table: str, file: str, literal_eval: bool = False
) -> tuple[pa.RecordBatch, list[Reject]]:
    """Parses lines with one JSON object each.

    Arrow parses the whole block. Where it refuses (bad JSON, mixed types), every line is
    parsed alone, so that only the bad ones are lost.

    Args:
        lines: not blank, without their line ends.
        schema: the wanted columns, made with `pipeline.sources.rows.column`; other fields are ignored.
        table: name of the table, for rejects.
        file: where the lines come from, for rejects.
        literal_eval: also take Python literals (`{'asin': ...}`), as the oldest Amazon metadata has them.

    Returns:
        The good rows in their order (as `check_rows` leaves them), and the bad lines.
    """
    rejects: dict[int, str] = {}
    raw = _parse_block(lines, schema)
    rows = list(range(len(lines)))
    if raw is None:
        raw, rejects = _parse_each(lines, schema, literal_eval)
        rows = [row for row in rows if row not in rejects]
    batch, reasons = check_rows(raw, schema)
    rejects |= {rows[position]: reason for position, reason in reasons.items()}
    return batch, [
        Reject(table, file, reason, lines[row].decode("utf-8", "replace")) for row, reason in sorted(rejects.items())
    ]


def _parse_block(lines: list[bytes], schema: pa.Schema) -> pa.RecordBatch | None:
    """All lines in one call of Arrow's parser; None where it refuses them."""
    block = b"\n".join(lines)
    try:
        block.decode("utf-8")  # Arrow does not check text
        first = json.loads(lines[0])
        fields = [field.with_type(_observed(field, first.get(field.name))) for field in schema]
        table = pyarrow.json.read_json(
            io.BytesIO(block),
            read_options=pyarrow.json.ReadOptions(use_threads=False, block_size=len(block) + 1),
            parse_options=pyarrow.json.ParseOptions(
                explicit_schema=pa.schema([field.with_nullable(True) for field in fields]),
                unexpected_field_behavior="ignore",
            ),
        )
    except (ValueError, AttributeError, IndexError, RecursionError):  # ArrowInvalid is a ValueError
        return None
    # Two objects on one line are two rows for Arrow.
    return table.combine_chunks().to_batches()[0] if table.num_rows == len(lines) else None


def _observed(field: pa.Field, value: Any) -> pa.DataType:
    """How the first line writes a field (ids may be integers, text lists), so that Arrow need not guess."""
    kind = field.type
    if pa.types.is_string(kind):
        if isinstance(value, list) and value and separator_of(field):
            return pa.list_(_text_kind(value[0]))
        return _text_kind(value)
    if pa.types.is_timestamp(kind):
        return _text_kind(value)
    if pa.types.is_floating(kind):
        return pa.float64()
    if pa.types.is_list(kind):
        first = value[0] if isinstance(value, list) and value else None
        return pa.list_(_observed(kind.value_field, first))
    if pa.types.is_struct(kind):
        given = value if isinstance(value, dict) else {}
        return pa.struct([pa.field(child.name, _observed(child, given.get(child.name))) for child in kind])
    return kind


def _text_kind(value: Any) -> pa.DataType:
    return pa.int64() if type(value) is int else pa.string()


def _parse_each(lines: list[bytes], schema: pa.Schema, literal_eval: bool) -> tuple[pa.RecordBatch, dict[int, str]]:
    """Line by line: the good rows, and the bad lines' positions with their reasons."""
    rows: list[dict[str, Any]] = []
    bad: dict[int, str] = {}
    for position, line in enumerate(lines):
        try:
            value = _load(line, literal_eval)
            rows.append({field.name: _coerce(value.get(field.name), field, field.name) for field in schema})
        except _BadLineError as reason:
            bad[position] = str(reason)
    loose = [pa.field(field.name, _loose(field.type)) for field in schema]
    columns = [pa.array([row[field.name] for row in rows], field.type) for field in loose]
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema(loose)), bad


def _load(line: bytes, literal_eval: bool) -> dict[str, Any]:
    try:
        value = json.loads(line.decode("utf-8-sig"))  # of bytes json would take UTF-16 too
    except (ValueError, RecursionError):
        if not literal_eval:
            raise _BadLineError("no JSON") from None
        try:
            value = ast.literal_eval(line.decode("utf-8-sig").strip())
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            raise _BadLineError("no JSON and no Python literal") from None
    if value is None:  # for Arrow too it is a row without fields
        return {}
    if not isinstance(value, dict):
        raise _BadLineError("no JSON object")
    return value


def _coerce(value: Any, field: pa.Field, path: str) -> Any:
    """A parsed value as the field's loose type; raises `_BadLineError` where it can never fit."""
    kind = field.type
    if value is None:
        return None
    if pa.types.is_string(kind):
        if isinstance(value, list) and (separator := separator_of(field)):
            return separator.join(_as_text(each, f"{path}[]") for each in value if each is not None)
        return _as_text(value, path, decimals=takes_decimals(field))
    if pa.types.is_timestamp(kind):
        if isinstance(value, str) or type(value) is int:
            return _as_text(value, path)
        raise _BadLineError(f"`{path}` is no time")
    if pa.types.is_floating(kind):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise _BadLineError(f"`{path}` is {_name(value)}, not a number")
        try:
            return float(value)
        except OverflowError:
            return math.inf
    if pa.types.is_boolean(kind) and isinstance(value, bool):
        return value
    if pa.types.is_list(kind) and isinstance(value, list):
        return [_coerce(element, kind.value_field, path) for element in value]
    if pa.types.is_struct(kind) and isinstance(value, dict):
        return {child.name: _coerce(value.get(child.name), child, f"{path}.{child.name}") for child in kind}
    wanted = {"bool": "true or false", "list": "a list", "struct": "an object"}
    raise _BadLineError(f"`{path}` is {_name(value)}, not {next(wanted[k] for k in wanted if str(kind).startswith(k))}")


def _as_text(value: Any, path: str, *, decimals: bool = False) -> str:
    if not (isinstance(value, str) or type(value) is int or (decimals and isinstance(value, float))):
        raise _BadLineError(f"`{path}` is {_name(value)}, not text")
    text = str(value)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # half of a surrogate pair
        raise _BadLineError(f"`{path}` is no valid Unicode") from None
    return text


def _loose(kind: pa.DataType) -> pa.DataType:
    """The type that holds every accepted way to write a field."""
    if pa.types.is_timestamp(kind):
        return pa.string()
    if pa.types.is_floating(kind):
        return pa.float64()
    if pa.types.is_list(kind):
        return pa.list_(_loose(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(child.name, _loose(child.type)) for child in kind])
    return kind


def _name(value: Any) -> str:
    names = {str: "text", bool: "true or false", int: "an integer", float: "a decimal number", list: "a list"}
    return names.get(type(value), "an object")
