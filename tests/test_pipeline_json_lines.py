"""JSON Lines to Arrow: the fast way and the slow way give the same rows, and every reject has its reason."""

import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.sources.json_lines import parse_json_lines
from pipeline.sources.rows import TIME, check_rows, column

SCHEMA = pa.schema(
    [
        column("id", pa.string(), required=True),
        column("price", pa.float32(), non_negative=True),
        column("time", TIME, required=True),
        column("tags", pa.string(), separator="|"),
        column("action", pa.string(), allowed=("click", "purchase")),
        column(
            "shown",
            pa.list_(
                pa.field("s", pa.struct([column("item", pa.string(), required=True), column("bought", pa.bool_())]))
            ),
        ),
    ]
)
GOOD: dict[str, Any] = {
    "id": "a",
    "price": 2.5,
    "time": 7,
    "tags": "x|y",
    "action": "click",
    "shown": [{"item": "i", "bought": True}],
}


def parse(*rows: Any, literal_eval: bool = False) -> tuple[list[dict[str, Any]], list[str]]:
    """Rows (bytes as they are, others as JSON) to good rows and reasons."""
    lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    batch, rejects = parse_json_lines(lines, SCHEMA, table="t", file="f", literal_eval=literal_eval)
    assert batch.num_rows + len(rejects) == len(lines)
    return batch.to_pylist(), [reject.reason for reject in rejects]


def test_a_row_keeps_its_values_and_missing_ones_get_their_default() -> None:
    rows, reasons = parse(GOOD, {"id": "b", "time": 8, "action": "purchase", "unknown": [{}]})
    assert reasons == []
    assert rows[0] == GOOD
    assert str(rows[1]["price"]) == "nan"
    assert rows[1] | {"price": None} == {
        "id": "b", "price": None, "time": 8, "tags": "", "action": "purchase", "shown": [],
    }  # fmt: skip


def test_integer_ids_lists_of_texts_and_line_breaks_become_plain_text() -> None:
    rows, reasons = parse(GOOD | {"id": 12, "tags": ["x", "a\r\nb"], "shown": [{"item": 3}]}, GOOD | {"tags": ["z"]})
    assert reasons == []
    assert [row["id"] for row in rows] == ["12", "a"]
    assert [row["tags"] for row in rows] == ["x|a b", "z"]
    assert rows[0]["shown"] == [{"item": "3", "bought": False}]


def test_what_is_missing_in_a_list_of_texts_is_left_out() -> None:
    rows = [GOOD | {"tags": tags} for tags in ([None, "x", None, "y"], [None], [], None)]
    for extra in ([], [b"{"]):  # with a bad line the careful way
        assert [row["tags"] for row in parse(*rows, *extra)[0]] == ["x|y", "", "", ""]


def test_a_text_may_be_a_decimal_number_where_declared() -> None:
    schema = pa.schema([column("price", pa.string(), decimals=True)])
    lines = [b'{"price": 2.5}', b'{"price": "$3"}', b'{"price": 4}', b'{"price": [5]}']
    batch, rejects = parse_json_lines(lines, schema, table="t", file="f")
    assert batch.to_pylist() == [{"price": "2.5"}, {"price": "$3"}, {"price": "4"}]
    assert [reject.reason for reject in rejects] == ["`price` is a list, not text"]


def test_times_are_seconds_or_iso_texts_in_utc_or_with_an_offset() -> None:
    texts = ["1970-01-02", "1970-01-01T00:00:09", "1970-01-01T01:00:00.9+01:00", "1970-01-01 00:00:05Z", "17"]
    rows, reasons = parse(*(GOOD | {"time": time} for time in texts))
    assert reasons == []
    assert [row["time"] for row in rows] == [86_400, 9, 0, 5, 17]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b"{nope", "no JSON"),
        (b'{"id": "\xff", "time": 1}', "no JSON"),
        (b'{"id": "a", "time": 1}{"id": "b", "time": 1}', "no JSON"),
        (b"[1]", "no JSON object"),
        (b"null", "lacks `id`"),
        ({"time": 1}, "lacks `id`"),
        (GOOD | {"id": None}, "lacks `id`"),
        (GOOD | {"id": ""}, "`id` is empty"),
        (GOOD | {"id": True}, "`id` is true or false, not text"),
        (GOOD | {"id": 1.5}, "`id` is a decimal number, not text"),
        (GOOD | {"id": ["a"]}, "`id` is a list, not text"),
        (GOOD | {"action": ["click"]}, "`action` is a list, not text"),
        (GOOD | {"tags": [["x"]]}, "`tags[]` is a list, not text"),
        (GOOD | {"tags": ["x", 1.5]}, "`tags[]` is a decimal number, not text"),
        (b'{"time": 1, "id": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "no JSON"),
        (GOOD | {"tags": {}}, "`tags` is an object, not text"),
        (GOOD | {"price": "9"}, "`price` is text, not a number"),
        (GOOD | {"price": False}, "`price` is true or false, not a number"),
        (GOOD | {"price": -0.5}, "`price` is negative"),
        (GOOD | {"price": float("nan")}, "`price` is not a finite number"),
        (GOOD | {"price": 1e39}, "`price` is not a finite number"),
        (b'{"id": "a", "time": 1, "price": 1e400}', "`price` is not a finite number"),
        (GOOD | {"time": None}, "lacks `time`"),
        (GOOD | {"time": 1.5}, "`time` is no time"),
        (GOOD | {"time": "now"}, "`time` is no time"),
        (GOOD | {"time": "2020-13-01"}, "`time` is no time"),
        (GOOD | {"time": -1}, "`time` is before 1970 or after 2100 (in seconds)"),
        (GOOD | {"time": 1_577_836_800_000}, "`time` is before 1970 or after 2100 (in seconds)"),
        (GOOD | {"action": "view"}, "`action` is none of click, purchase"),
        (GOOD | {"shown": {}}, "`shown` is an object, not a list"),
        (GOOD | {"shown": ["i"]}, "`shown` is text, not an object"),
        (GOOD | {"shown": [{"bought": True}]}, "lacks `shown.item`"),
        (GOOD | {"shown": [{"item": "i", "bought": 1}]}, "`shown.bought` is an integer, not true or false"),
    ],
)
def test_a_bad_row_has_its_reason_and_takes_no_other_with_it(row: Any, reason: str) -> None:
    for lines in ([GOOD, row, GOOD], [row, GOOD, GOOD]):
        rows, reasons = parse(*lines)
        assert reasons == [reason]
        assert rows == [GOOD, GOOD]
    assert parse(row) == ([], [reason])


def test_python_literals_are_read_where_allowed() -> None:
    line = b"{'id': 'it\\'s', 'time': 3}"
    assert parse(line)[1] == ["no JSON"]
    rows, reasons = parse(line, literal_eval=True)
    assert (rows[0]["id"], reasons) == ("it's", [])
    assert parse(b"__import__('os')", literal_eval=True)[1] == ["no JSON and no Python literal"]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries(
            {"id": st.text(max_size=4) | st.integers(0, 99) | st.just(1.5), "time": st.integers(-5, 10**10)},
            optional={
                "price": st.none() | st.floats(width=32) | st.integers(-3, 3),
                "tags": st.text(max_size=3)
                | st.lists(st.none() | st.text("ab", max_size=2), max_size=3)
                | st.lists(st.none() | st.integers(0, 9), max_size=2),
                "shown": st.lists(st.none() | st.fixed_dictionaries({"item": st.none() | st.just("i")}), max_size=2),
            },
        ),
        min_size=1,
        max_size=6,
    )
)
def test_the_slow_way_gives_what_the_fast_way_gives(rows: list[dict[str, Any]]) -> None:
    fast, fast_reasons = parse(*rows)
    slow, slow_reasons = parse(*rows, b"{")
    assert repr(slow) == repr(fast)  # repr: NaN equals NaN
    assert slow_reasons == [*fast_reasons, "no JSON"]


def test_parquet_types_follow_the_same_rules() -> None:
    raw = pa.RecordBatch.from_pydict(
        {
            "id": pa.array(["a", "b", None]).dictionary_encode(),
            "price": pa.array([1, -1, 2]),
            "tags": pa.array([["x", None, "y"], None, []]),
            "time": pa.array([5_000_000, None, 0], pa.timestamp("us")),
        }
    )
    batch, reasons = check_rows(raw, SCHEMA)
    assert batch.select(["id", "price", "time", "tags"]).to_pylist() == [
        {"id": "a", "price": 1.0, "time": 5, "tags": "x|y"}
    ]
    assert reasons == {1: "`price` is negative", 2: "lacks `id`"}


def test_a_parquet_column_that_can_never_fit_is_an_error() -> None:
    with pytest.raises(InputError, match="column `price` is string, not a number"):
        check_rows(pa.RecordBatch.from_pydict({"price": ["x"]}), SCHEMA)
    with pytest.raises(InputError, match=r"column `id` is list<(item|element): string>, not text"):
        check_rows(pa.RecordBatch.from_pydict({"id": [["x"]]}), SCHEMA)
    with pytest.raises(InputError, match="column `id` is double, not text"):
        check_rows(pa.RecordBatch.from_pydict({"id": [1.5]}), SCHEMA)
    with pytest.raises(InputError, match="column `time` is double, not integer seconds"):
        check_rows(pa.RecordBatch.from_pydict({"time": [1.5]}), SCHEMA)
