"""Hypothesis strategies for files that are broken in every way we could think of."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

#: What a field may hold that it should not.
WRONG: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**25), 10**25)
    | st.sampled_from([0, -1, 2**31, 2**53 + 1, 2**63, -(2**63) - 1, 10**400, 4_133_980_800, 1_577_836_800_000])
    | st.floats()
    | st.sampled_from([1e39, -1e39, 1e308, 5e-324, -0.0])
    | st.text(max_size=6)
    | st.sampled_from(
        ["", " ", "\0", "a\0b", "\r\n", "\u2028", "\ud800", "\udfff\ud800", "NaN", "null", "now", "\ufeff"]
    )
    | st.sampled_from(["2020-13-01", "9999-12-31T23:59:59-23:59", "0001-01-01", "2020-01-01T00:00:00+99:99", "1e3"])
    | st.sampled_from(["1" * 15, "-" + "9" * 15, "9" * 30, "12.", "$", "$1,0,0", "from", "—", "1_000", "٣", "inf"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3) | st.just("Brand"), inner, max_size=3)
    ),
    max_leaves=5,
)
#: Lines that are no row at all, whatever the table.
JUNK: st.SearchStrategy[bytes] = (
    st.binary(min_size=1, max_size=30)
    | st.text(min_size=1, max_size=20).map(lambda text: text.encode("utf-8", "surrogatepass"))
    | st.sampled_from(
        [
            b"{", b"}", b"null", b"[]", b"[{}]", b"{}", b"true", b"0", b'""', b"{}{}", b"{},", b"NaN", b"\x00",
            b"\xff\xfe",
            b"\xef\xbb\xbf", b"[" * 5000, b'{"a":' * 5000, b"(" * 300, b"-" * 3000 + b"1", b"9" * 5000, b"{1: 2}",
            b"{'a'}",
            b"{[]: 1}", b"1+2j", b"b'x'", b"1(2)", b"'\\ud800'", b"{**{}}", b"# comment", b"__import__('os')", b"'\\N{",
            b"{\x00}\x00", '{"id": "x"}'.encode("utf-16"), '{"id": "x"}'.encode("utf-32"), b"\x0b", b"\x1c",
            b"\xc2\x85",
        ]
    )
)  # fmt: skip


def broken(good: dict[str, Any]) -> st.SearchStrategy[bytes]:
    """Lines that begin as a good row and go wrong; a few are good after all."""
    line = json.dumps(good).encode()

    def with_wrong(fields: dict[str, Any]) -> bytes:
        return json.dumps(good | fields).encode()

    def cut(places: tuple[int, int]) -> bytes:
        return line[: min(places)] + line[max(places) :]

    def overwrite(change: tuple[int, bytes]) -> bytes:
        return line[: change[0]] + change[1] + line[change[0] + len(change[1]) :]

    place = st.integers(0, len(line))
    return (
        st.dictionaries(st.sampled_from(sorted(good)), WRONG, min_size=1, max_size=2).map(with_wrong)
        | st.tuples(place, place).map(cut)
        | st.tuples(place, st.binary(min_size=1, max_size=3)).map(overwrite)
        | st.sampled_from(sorted(good)).map(
            lambda name: json.dumps({k: v for k, v in good.items() if k != name}).encode()
        )
        | st.sampled_from([line + line, line + b",", b"\xef\xbb\xbf" + line, line[:-1] + b', "id": 1' + line[1:]])
        | st.just(repr(good).encode())
    )


def files_of(lines: st.SearchStrategy[bytes]) -> st.SearchStrategy[tuple[list[bytes], bytes]]:
    """Lines that are not blank, and a file of them with blank lines between and either line end."""
    one = lines.map(lambda line: line.replace(b"\n", b" ")).filter(lambda line: bool(line.strip()))
    end = st.sampled_from([b"\n", b"\r\n", b"\n\n", b"\n \t\n", b"\r\n\r\n", b"\n\x0c\n"])

    def join(parts: list[tuple[bytes, bytes]], last: bool) -> tuple[list[bytes], bytes]:
        text = b"".join(line + ending for line, ending in parts)
        return [line for line, _ in parts], text if last or not parts else text[: -len(parts[-1][1])]

    return st.builds(join, st.lists(st.tuples(one, end), max_size=8), st.booleans())
