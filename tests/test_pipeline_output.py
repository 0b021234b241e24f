"""The output directory against what can go wrong around it: other runs, interrupts, lost files."""

import json
from pathlib import Path
from typing import Any

import pytest
from prepared_records import record_messages
from small_log import DAY, START, small_log, small_scenario, write_log

from pipeline.days import DateRange
from pipeline.errors import InputError
from pipeline.folder import Folder
from pipeline.output import Output
from pipeline.prepared_data import PARTS, PreparedData
from pipeline.run import preprocess

SCENARIO = small_scenario()
DAYS = DateRange(START // DAY, START // DAY + 5)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_log(tmp_path_factory.mktemp("output") / "log", small_log()))


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"overwrite": True}, {"days": DAYS}], ids=["first", "overwrite", "days"])
def test_of_two_runs_at_once_the_first_to_finish_wins(
    options: dict[str, Any], log: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = str(tmp_path / "out")
    if options:
        preprocess(SCENARIO, log, output)
    parts = Output.parts

    def parts_while_another_run_publishes(self: Output, days: DateRange | None) -> Any:
        monkeypatch.setattr(Output, "parts", parts)
        preprocess(SCENARIO, log, output, **options)
        return parts(self, days)

    monkeypatch.setattr(Output, "parts", parts_while_another_run_publishes)
    with pytest.raises(InputError, match="another run has written to it meanwhile; run again"):
        preprocess(SCENARIO, log, output, **options)
    data = PreparedData.open(output)
    assert record_messages(data)
    days = [day for part in data.manifest["parts"].values() for day in part["days"].values()]
    named = {data.latest.name, *(name.split("/")[0] for day in days for name in day["files"])}
    assert {path.name for path in (tmp_path / "out").glob("revision-*")} == named


def test_an_interrupt_behind_the_manifest_loses_nothing(
    log: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish = Output.publish

    def interrupted(self: Output, manifest: Any) -> None:
        publish(self, manifest)
        raise KeyboardInterrupt

    monkeypatch.setattr(Output, "publish", interrupted)
    with pytest.raises(KeyboardInterrupt):
        preprocess(SCENARIO, log, str(tmp_path / "out"))
    assert record_messages(PreparedData.open(tmp_path / "out"))


def test_a_file_that_is_gone_or_too_many_is_noticed(log: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = Output.parts

    def lose_one(self: Output, days: DateRange | None) -> Any:
        files = sorted(Path(self.target.path).glob("train/*/*.gz"))
        # what a worker that dies in the middle of a rename leaves is no file of records
        files[1].with_name(f".{files[1].name}.0123abcd").write_bytes(files[1].read_bytes())
        if (tmp_path / "lose").exists():
            files[0].unlink()
        return parts(self, days)

    monkeypatch.setattr(Output, "parts", lose_one)
    preprocess(SCENARIO, log, str(tmp_path / "out"))
    data = PreparedData.open(tmp_path / "out")
    assert sum(map(len, record_messages(data).values())) == sum(data.sessions(part) for part in PARTS)
    (tmp_path / "lose").touch()
    with pytest.raises(InputError, match=r"do not add up, nothing is published: \d+ files of records were made and"):
        preprocess(SCENARIO, log, str(tmp_path / "other"))
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    "changed",
    [
        {"seed": 18},
        {"negatives_per_positive": 2},
        {"behaviors": {"click_days": 4, "purchase_days": 9, "max_behaviors": 6}},
        {"split": {"by": "user", "train": 0.6, "validation": 0.2}},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_days_made_otherwise_are_not_added(changed: dict[str, Any], log: str, tmp_path: Path) -> None:
    preprocess(SCENARIO, log, str(tmp_path / "out"), days=DAYS)
    (name,) = changed
    with pytest.raises(InputError, match=rf"was made with `pipeline\.{name}.*; use that again, or another --output"):
        preprocess(small_scenario(**changed), log, str(tmp_path / "out"), days=DAYS)


def test_a_day_without_records_is_added_empty(log: str, tmp_path: Path) -> None:
    preprocess(SCENARIO, log, str(tmp_path / "out"))
    days = DateRange(START // DAY + 100, START // DAY + 100)
    manifest = preprocess(SCENARIO, log, str(tmp_path / "out"), days=days)
    assert manifest["runs"][-1]["warnings"] == ["no session of these days became a record: they are empty now"]
    assert manifest["parts"]["train"]["sessions"] > 0


def test_running_and_dead_runs_are_told_apart(tmp_path: Path) -> None:
    folder = Folder.at(str(tmp_path / "out"))
    alive = Output.open(folder.path, SCENARIO, overwrite=False, days=None)
    alive.target.write("train/all/shard-00000-00000.tfrecord.gz", b"half")
    for name, marker in {
        "revision-00007-0000000a": {"pid": 2**22 + 1},  # above any process number
        "revision-00008-0000000b": {"pid": 1, "host": "elsewhere", "since": "2020-01-01T00:00:00+00:00"},
        "revision-00009-0000000c": None,
    }.items():
        running = json.loads(alive.target.read("running.json"))
        (folder / name).write("rejects/a.jsonl", b"")
        if marker is not None:
            (folder / name).write("running.json", json.dumps(running | marker).encode())
    Output.open(folder.path, SCENARIO, overwrite=False, days=None)
    left = {name.split("/")[0] for name in folder.files()}
    assert alive.revision in left
    assert not any(name.startswith(("revision-00007", "revision-00008", "revision-00009")) for name in left)
