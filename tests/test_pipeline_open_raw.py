"""Opening a file of a raw log: packed or not, and every way in which it can be broken."""

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
from scheme_file_system import url_of

from pipeline.errors import InputError
from pipeline.sources.open_raw import open_raw

TEXT = b"".join(b"line %d\n" % number for number in range(5000))
PACKED = gzip.compress(TEXT)


def read(path: Path) -> bytes:
    with open_raw(str(path)) as stream:
        return stream.read()


def write(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def test_plain_and_packed_files_of_one_or_several_members(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(TEXT)
    (tmp_path / "a.jsonl.gz").write_bytes(PACKED)
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(TEXT[:100]) + gzip.compress(b"") + gzip.compress(TEXT[100:]))
    (tmp_path / "none.jsonl").write_bytes(b"")
    (tmp_path / "none.jsonl.gz").write_bytes(gzip.compress(b""))
    assert {path.name: read(path) for path in tmp_path.iterdir()} == {
        "a.jsonl": TEXT,
        "a.jsonl.gz": TEXT,
        "b.jsonl.gz": TEXT,
        "none.jsonl": b"",
        "none.jsonl.gz": b"",
    }


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (write(PACKED[:-9]), r"is it damaged\? Compressed file ended before the end-of-stream"),
        (write(PACKED[:-4]), r"is it damaged\? Compressed file ended before the end-of-stream"),
        (write(PACKED + PACKED[:20]), r"is it damaged\? Compressed file ended before the end-of-stream"),
        (write(PACKED[:40] + b"\xff" * 40 + PACKED[80:]), r"is it damaged\? Error -3 while decompressing"),
        (write(PACKED[:-8] + bytes(8)), r"is it damaged\? CRC check failed"),
        (write(TEXT), r"is it damaged\? Not a gzipped file"),
        (write(b""), r"is it damaged\? it has no bytes"),
        (Path.mkdir, "cannot be read, Is a directory"),
        (lambda path: path.symlink_to("nowhere"), "cannot be read, No such file or directory"),
    ],
    ids=[
        "cut",
        "cut in the checksum",
        "second member cut",
        "corrupt",
        "checksum",
        "plain",
        "empty",
        "directory",
        "link",
    ],
)
def test_a_broken_file_is_one_line_with_its_name(make: Callable[[Path], object], message: str, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl.gz"
    make(path)
    with pytest.raises(InputError, match=message) as told:
        read(path)
    assert str(told.value).startswith(f"{path}: cannot be read, ")
    assert "\n" not in str(told.value)


def test_a_file_beyond_the_local_disk(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(PACKED)
    with open_raw(url_of(tmp_path / "a.jsonl.gz")) as stream:
        assert stream.read() == TEXT
    for path, message in (
        (url_of(tmp_path / "b.jsonl"), "No such file or directory"),
        ("elsewhere://tmp/forbidden/a.jsonl", "403 no access"),
        ("nosuchscheme://bucket/a.jsonl", "Unable to get filesystem"),
    ):
        with pytest.raises(InputError, match=f"{path}: cannot be read, .*{message}") as told, open_raw(path):
            pass
        assert "\n" not in str(told.value)
