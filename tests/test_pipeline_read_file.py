"""Reading files that are broken: nothing but an `InputError` escapes, and each line is a row or a reject."""

import gzip
import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from broken_lines import JUNK, broken, files_of
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.raw_tables import Reject
from pipeline.sources.amazon import REVIEW_LAYOUTS
from pipeline.sources.amazon_metadata import METADATA_LAYOUTS, parse_metadata
from pipeline.sources.layout import Layout
from pipeline.sources.read_file import read_file
from pipeline.sources.rows import TIME, column

#: Every kind of column there is.
EVERY_KIND = (
    Layout(
        pa.schema(
            [
                column("id", pa.string(), required=True),
                column("price", pa.float32(), non_negative=True),
                column("time", TIME, required=True),
                column("tags", pa.string(), separator="|"),
                column("action", pa.string(), allowed=("click", "purchase")),
                column(
                    "shown",
                    pa.list_(
                        pa.field(
                            "s", pa.struct([column("item", pa.string(), required=True), column("bought", pa.bool_())])
                        )
                    ),
                    required=True,
                ),
            ]
        )
    ),
)
#: Layouts, a good row of each, and whether Python literals are read.
TABLES: dict[str, tuple[tuple[Layout, ...], list[dict[str, Any]], bool]] = {
    "every kind": (
        EVERY_KIND,
        [
            {
                "id": "good", "price": 2.5, "time": 7, "tags": ["x", "y"], "action": "click",
                "shown": [{"item": "i", "bought": True}],
            }
        ],
        False,
    ),
    "reviews": (
        REVIEW_LAYOUTS,
        [
            {"reviewerID": "u", "asin": "good", "unixReviewTime": 7},
            {"user_id": "u", "parent_asin": "good", "timestamp": 7000},
        ],
        False,
    ),
    "metadata": (
        METADATA_LAYOUTS,
        [
            {"asin": "good", "title": "t", "brand": "b", "categories": [["A", "B"]], "price": 2.5},
            {"asin": "good", "title": "t", "brand": "b", "category": ["A", "B"], "price": "$2.50"},
            {
                "main_category": "M", "parent_asin": "good", "store": None, "details": {"Brand": "b"},
                "categories": ["A"], "price": "from 2.5",
            },
        ],
        True,
    ),
}  # fmt: skip


def read(path: Path, layouts: tuple[Layout, ...], literal_eval: bool = False) -> tuple[list[str], list[Reject]]:
    """The rows, as text since NaN equals no NaN, and the rejects; checks what every row must be."""
    rows: list[str] = []
    rejects: list[Reject] = []
    for batch, bad in read_file(str(path), layouts, table="t", literal_eval=literal_eval):
        batch.validate(full=True)
        layout = next(layout for layout in layouts if layout.schema.names == batch.schema.names)
        for field in layout.schema:
            assert batch[field.name].null_count == 0, field.name
        for row in batch.to_pylist():
            check_values(row)
            rows.append(repr(row))
        if layouts is METADATA_LAYOUTS:
            items, also_bad = parse_metadata(batch)
            assert items.num_rows + len(also_bad) == batch.num_rows
        rejects += bad
    assert all(reject.table == "t" and reject.file == str(path) and reject.reason for reject in rejects)
    json.dumps([reject.line for reject in rejects]).encode()
    return rows, rejects


def read_or_error(path: Path) -> tuple[list[str], list[Reject]] | str:
    """What `read` gives, or the message of its error; any other exception is a failure."""
    try:
        return read(path, EVERY_KIND)
    except InputError as error:
        message = str(error)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


def check_values(value: Any) -> None:
    if isinstance(value, str):
        assert not {"\n", "\r"} & set(value)
        value.encode()
    elif isinstance(value, float):
        assert math.isnan(value) or math.isfinite(value)
    elif isinstance(value, int):
        assert 0 <= value < 4_133_980_800
    else:
        for each in value.values() if isinstance(value, dict) else value:
            check_values(each)


@pytest.mark.parametrize("name", TABLES)
@settings(max_examples=60)
@given(data=st.data())
def test_each_line_is_a_row_or_a_reject_whatever_stands_beside_it(
    name: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    layouts, good_rows, literal_eval = TABLES[name]
    good_lines = [json.dumps(row).encode() for row in good_rows]
    wanted = st.sampled_from(good_lines) | JUNK | st.one_of([broken(row) for row in good_rows])
    lines, content = data.draw(files_of(wanted))
    path = tmp_path_factory.getbasetemp() / "fuzz.jsonl"
    path.write_bytes(content)
    rows, rejects = read(path, layouts, literal_eval)
    assert len(rows) + len(rejects) == len(lines)

    alone = []
    for line in lines:
        path.write_bytes(line)
        alone.append(read(path, layouts, literal_eval))
        assert len(alone[-1][0]) == 1 if line in good_lines else True
    assert sorted(rows) == sorted(row for each, _ in alone for row in each)
    told = [(reject.reason, reject.line.rstrip("\r")) for reject in rejects]
    assert sorted(told) == sorted((r.reason, r.line.rstrip("\r")) for _, each in alone for r in each)


@settings(max_examples=60)
@given(data=st.data())
def test_a_packed_file_that_was_cut_or_overwritten_is_the_same_or_an_error(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    (good,) = TABLES["every kind"][1]
    packed = gzip.compress(json.dumps(good).encode() * 3 + b"\n" + json.dumps(good).encode(), mtime=0)
    path = tmp_path_factory.getbasetemp() / "fuzz.jsonl.gz"
    path.write_bytes(packed)
    sound = read_or_error(path)
    place, change = data.draw(st.integers(0, len(packed) - 1)), data.draw(st.binary(max_size=4))
    cut = data.draw(st.booleans())
    path.write_bytes(packed[:place] + change + (b"" if cut else packed[place + len(change) :]))
    found = read_or_error(path)
    assert found == sound or "cannot be read, is it damaged?" in found


def invalid_texts() -> pa.Array:
    """Parquet says of a text that it is UTF-8, and nobody checks."""
    offsets, values = (
        pa.py_buffer(b"".join(n.to_bytes(4, "little") for n in (0, 2, 4, 7))),
        pa.py_buffer(b"ok\xff\xfeabc"),
    )
    return pa.Array.from_buffers(pa.string(), 3, [None, offsets, values])


SHOWN = pa.list_(pa.struct([("item", pa.string()), ("bought", pa.bool_())]))
#: Three values of every type that a file might have.
ARRAYS = [
    pa.array([1, 0, None]),
    pa.array([2**62, -(2**63), 2**53 + 1]),
    pa.array([2**64 - 1, 2**63, 0], pa.uint64()),
    pa.array([1, -1, 0], pa.int8()),
    pa.array([math.nan, math.inf, 1e300]),
    pa.array([0.5, 1e10, None], pa.float32()),
    pa.array([True, False, None]),
    pa.array(["click", "", "a\0\r\nb"]),
    pa.array(["2020-01-01", "17", "9" * 25]),
    pa.array(["x", None, "click"], pa.large_string()),
    pa.array(["x", None, "click"]).dictionary_encode(),
    invalid_texts(),
    pa.array([b"x", b"\xff", None]),
    pa.array([b"xy", b"\xff\xff", None], pa.binary(2)),
    pa.array([1, -2, None]).cast(pa.decimal128(30, 2)),
    pa.array([0, 2**31 - 1, -(2**31)], pa.int32()).cast(pa.date32()),
    pa.array([0, 86_400_000, None]).cast(pa.date64()),
    pa.array([7, 2**62, None]).cast(pa.timestamp("us")),
    pa.array([7, -(2**62), 2**62]).cast(pa.timestamp("ns", "Europe/Berlin")),
    pa.array([7, 2**53, -1]).cast(pa.timestamp("ms")),
    pa.array([7, 8, None], pa.int32()).cast(pa.time32("s")),
    pa.array([7, 8, None]).cast(pa.duration("s")),
    pa.array([["x", None], [], None], pa.list_(pa.string())),
    pa.array([["x", "a|b"], [""], None], pa.large_list(pa.large_string())),
    pa.array([[1, None], [2**62], None], pa.list_(pa.int64())),
    pa.array([[["x"]], [], None], pa.list_(pa.list_(pa.string()))),
    pa.array([["x"], ["y"], ["z"]], pa.list_(pa.string(), 1)),
    pa.ListArray.from_arrays([0, 1, 3, 3], invalid_texts()),
    pa.array([{"item": "i"}, None, {"item": None}]),
    pa.array([[{"item": "i", "bought": True}], [{"item": None, "bought": None}], []], SHOWN),
    pa.array([[None], None, [{"item": "i", "bought": False}]], SHOWN),
    pa.array([[{"item": 3, "bought": 7}], [], [{"item": 2**62, "bought": 0}]]),
    pa.array([[{"item": "i", "bought": "yes"}], [], None]),
    pa.array([[{"other": 1}], [], [None]]),
    pa.array([[("k", "v")], [], None], pa.map_(pa.string(), pa.string())),
    pa.nulls(3),
]


@settings(max_examples=200)
@given(
    columns=st.fixed_dictionaries(
        {}, optional={name: st.integers(0, len(ARRAYS) - 1) for name in (*EVERY_KIND[0].schema.names, "other")}
    ),
    good=st.sets(st.sampled_from(EVERY_KIND[0].schema.names)),
)
def test_parquet_of_any_types_is_rows_and_rejects_or_names_the_column(
    columns: dict[str, int], good: set[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    (good_row,) = TABLES["every kind"][1]
    sound = {name: pa.array([good_row[name]] * 3) for name in good}
    table = pa.table({**{name: ARRAYS[place] for name, place in columns.items()}, **sound})
    path = tmp_path_factory.getbasetemp() / "fuzz.parquet"
    pq.write_table(table, path)
    found = read_or_error(path)
    if isinstance(found, str):
        assert "column `" in found
        return
    rows, rejects = found
    assert len(rows) + len(rejects) == table.num_rows
    for place in range(table.num_rows):
        pq.write_table(table.slice(place, 1), path)
        alone = read(path, EVERY_KIND)
        assert set(alone[0]) <= set(rows)
        assert {reject.reason for reject in alone[1]} <= {reject.reason for reject in rejects}


@settings(max_examples=200)
@given(data=st.data())
def test_a_parquet_file_that_was_cut_or_overwritten_is_read_or_an_error(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "cut.parquet"
    pq.write_table(pa.Table.from_pylist(TABLES["every kind"][1] * 5), path)
    sound = path.read_bytes()
    place = data.draw(st.integers(0, len(sound) - 1) | st.integers(max(0, len(sound) - 40), len(sound) - 1))
    change = data.draw(st.binary(max_size=4))
    cut = data.draw(st.booleans())
    path.write_bytes(sound[:place] + change + (b"" if cut else sound[place + len(change) :]))
    read_or_error(path)


def test_of_two_columns_with_one_name_neither_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "events.parquet"
    pq.write_table(pa.Table.from_arrays([pa.array(["a"])] * 3, names=["id", "x", "id"]), path)
    assert read_or_error(path) == f"{path}: two columns are named `id`"


def test_of_a_parquet_row_the_reject_shows_what_can_be_shown(tmp_path: Path) -> None:
    path = tmp_path / "events.parquet"
    pq.write_table(
        pa.table({"id": invalid_texts(), "time": pa.array([2**62, 5, 2**53]).cast(pa.timestamp("ms"))}), path
    )
    _, rejects = read(path, EVERY_KIND)
    assert [(reject.reason, reject.line) for reject in rejects] == [
        ("`time` is before 1970 or after 2100 (in seconds)", '{"id": "ok", "time": 4611686018427387904}'),
        ("`id` is no UTF-8", '{"id": "a string that cannot be shown", "time": "1970-01-01 00:00:00.005000"}'),
        ("`time` is before 1970 or after 2100 (in seconds)", '{"id": "abc", "time": 9007199254740992}'),
    ]
