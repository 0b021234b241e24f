"""Reading and writing beyond local paths: the same data, by URLs of another file system."""

from pathlib import Path
from typing import Any

import pytest
from prepared_records import comparable_records
from scheme_file_system import tree_url_of, url_of
from small_log import DAY, START, small_log, small_scenario, write_log

from pipeline.days import DateRange
from pipeline.errors import InputError
from pipeline.folder import Folder
from pipeline.prepared_data import PreparedData
from pipeline.run import preprocess

SCENARIO = small_scenario(split={"test_start": "2023-11-30"})
FIRST = START // DAY


@pytest.mark.slow
@pytest.mark.parametrize("at", [url_of, tree_url_of], ids=["objects", "folders"])
def test_a_log_elsewhere_becomes_data_elsewhere(at: Any, tmp_path: Path) -> None:
    log = write_log(tmp_path / "log", small_log())
    local, url = tmp_path / "local", at(tmp_path / "there" / "out")
    preprocess(SCENARIO, str(log), str(local))
    preprocess(SCENARIO, at(log), url)
    assert_equal(local, tmp_path / "there" / "out")
    # days, vocabularies and overwriting too
    days = DateRange(FIRST + 2, FIRST + 4)
    for output, source in ((str(local), str(log)), (url, at(log))):
        preprocess(SCENARIO, source, output, days=days)
        preprocess(SCENARIO, source, f"{output}-frozen", days=days, vocabularies_from=output)
    assert_equal(local, tmp_path / "there" / "out")
    assert_equal(tmp_path / "local-frozen", tmp_path / "there" / "out-frozen")
    preprocess(SCENARIO, at(log), url, overwrite=True)
    left = [path.name for path in (tmp_path / "there" / "out").glob("revision-*") if any(path.rglob("*.gz"))]
    assert left == [PreparedData.open(tmp_path / "there" / "out").latest.name]
    with pytest.raises(InputError, match="holds prepared data already"):
        preprocess(SCENARIO, at(log), url)


def assert_equal(one: Path, other: Path) -> None:
    data = [PreparedData.open(path) for path in (one, other)]
    assert comparable_records(data[0], SCENARIO.features) == comparable_records(data[1], SCENARIO.features)
    names = [Folder.at(str(d.latest)).files() for d in data]
    assert names[0] == names[1]
    for name in names[0]:
        if name.endswith((".txt", ".json", ".pb", ".pbtxt", ".yaml")):
            assert (data[0].latest / name).read_bytes() == (data[1].latest / name).read_bytes(), name


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (
            "elsewhere://forbidden/out",
            "cannot be made: 403 no access to elsewhere://forbidden/out/ ask its owner; choose",
        ),
        ("nowhere://x/out", "nowhere://x/out: cannot be made: .*nowhere"),
    ],
)
def test_an_output_that_cannot_be_reached_is_one_clear_line(output: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message) as told:
        preprocess(SCENARIO, str(write_log(tmp_path / "log", small_log())), output)
    assert "\n" not in str(told.value)


def test_a_rejected_log_leaves_only_its_rejects_there(tmp_path: Path) -> None:
    log: Any = small_log()
    log["events"] += [{**log["events"][0], "item_id": "gone"}] * 20
    url = url_of(tmp_path / "out")
    with pytest.raises(InputError, match=f"the rejected rows are in {url}/revision-00001-.*/rejects"):
        preprocess(SCENARIO, url_of(write_log(tmp_path / "log", log)), url)
    assert {name.split("/")[1] for name in Folder.at(url).files()} == {"rejects"}


@pytest.mark.parametrize("at", [str, url_of, tree_url_of], ids=["local", "objects", "folders"])
def test_a_folder_holds_whole_files_by_name(at: Any, tmp_path: Path) -> None:
    name = "a b c" if at is tree_url_of else "a [b]* ?"
    folder = Folder.at(at(tmp_path / name))
    assert (folder.files(), folder.size(), folder.has("x")) == ([], 0, False)
    folder.write("x", b"1")
    folder.write("x", b"22")
    folder.write("deep/er/y", b"333")
    (tmp_path / "local").write_bytes(b"4444")
    folder.take("deep/z", tmp_path / "local")
    assert not (tmp_path / "local").exists()
    assert folder.files() == ["deep/er/y", "deep/z", "x"]
    assert (folder.size(), folder.has("x"), folder.read("deep/z")) == (2, True, b"4444")
    assert (folder / "deep").files() == ["er/y", "z"]
    other = Folder.at(at(tmp_path / "a b"))
    other.write("x", b"stays")
    folder.delete(["deep/er/y", "deep/z"])
    assert folder.files() == ["x"]
    folder.delete(folder.files())
    assert (folder.files(), other.files()) == ([], ["x"])
