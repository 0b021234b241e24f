"""Listing a raw log's directory, on the local disk and by URL."""

from pathlib import Path

import pytest
from scheme_file_system import url_of

from pipeline.errors import InputError
from pipeline.sources.list_files import list_files


def make(directory: Path, *names: str) -> Path:
    for name in names:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text("x")
    return directory


@pytest.mark.parametrize("by_url", [False, True], ids=["local", "URL"])
@pytest.mark.parametrize("name", ["log", "log[1]*?", "mit Umlaut ä"])
def test_names_to_paths_and_a_directory_is_not_passed_over(tmp_path: Path, by_url: bool, name: str) -> None:
    make(tmp_path / f"{name}-not", "other.jsonl")
    directory = make(tmp_path / name, "b.jsonl", "a.jsonl.gz", "events.parquet/part-0.parquet")
    given = url_of(directory) if by_url else str(directory)
    for ending in ("", "/"):
        found = list_files(given + ending, holds="tables")
        assert list(found) == ["a.jsonl.gz", "b.jsonl", "events.parquet"]
        assert found["b.jsonl"] == f"{given}/b.jsonl"


def test_a_link_to_nowhere_is_listed(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").symlink_to("nowhere")
    assert list(list_files(str(tmp_path), holds="tables")) == ["events.jsonl"]


def test_what_is_no_directory_is_one_line(tmp_path: Path) -> None:
    make(tmp_path, "file")
    for directory in (str(tmp_path / "nowhere"), str(tmp_path / "file"), url_of(tmp_path / "nowhere")):
        with pytest.raises(InputError, match=r"no such directory; it should hold the four tables$") as told:
            list_files(directory, holds="the four tables")
        assert str(told.value).startswith(f"{directory}: ")


@pytest.mark.parametrize(
    ("directory", "message"),
    [
        ("elsewhere://tmp/forbidden/log", "403 no access to elsewhere://tmp/forbidden/log/ ask its owner"),
        ("nosuchscheme://bucket/log", "Unable to get filesystem from specified path"),
        ("hdfs://name/log", "Failed to import hdfs|hdfs_host"),
        ("\0", "embedded null"),
        ("x" * 300, "File name too long"),
    ],
)
def test_what_cannot_be_listed_is_one_line(directory: str, message: str) -> None:
    with pytest.raises(InputError, match=rf": cannot be listed, .*({message})") as told:
        list_files(directory, holds="tables")
    assert "\n" not in str(told.value)
