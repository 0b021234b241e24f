"""The main job by its own commands, each in a process of its own, on a small simulated log; mistakes and variants."""

from __future__ import annotations

import io
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

import pyarrow.parquet as pq
import pytest

from awmoe import main

ROOT = Path(__file__).parent.parent
CONFIG = str(ROOT / "configs" / "search.yaml")
SMALL = [
    "--set=training.epochs=1",
    "--set=training.batch_size=64",
    "--set=model.experts.layers=[32]",
    "--set=model.hidden_layers=[16]",
]


def awmoe(*arguments: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Runs a command and checks how it ended."""
    command = [sys.executable, str(ROOT / "awmoe.py"), *map(str, arguments)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    said = f"awmoe {' '.join(map(str, arguments))}\nstdout: {run.stdout}\nstderr: {run.stderr}"
    assert run.returncode == code, f"exit code {run.returncode}, expected {code}\n{said}"
    assert "Traceback" not in run.stderr, said
    return run


def awmoe_here(*arguments: str | Path, code: int = 0) -> str:
    """Runs a command as `awmoe` does, in this process, where TensorFlow is imported already; gives both outputs."""
    with ExitStack() as stack:
        said = stack.enter_context(redirect_stdout(io.StringIO()))
        stack.enter_context(redirect_stderr(said))
        stack.enter_context(patch.object(sys, "argv", ["awmoe", *map(str, arguments)]))
        ended = stack.enter_context(pytest.raises(SystemExit))
        main()
    assert (ended.value.code or 0) == code, f"exit code {ended.value.code}, expected {code}\n{said.getvalue()}"
    return said.getvalue()


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with log, prepared data, a run and an exported model, made by the commands."""
    place = tmp_path_factory.mktemp("job")
    awmoe("simulate", "--output", place / "log", "--users", "600", "--items", "400", "--format", "jsonl.gz")
    awmoe("preprocess", CONFIG, "--input", place / "log", "--output", place / "prepared")
    awmoe("train", CONFIG, "--data", place / "prepared", "--output", place / "run", *SMALL)
    awmoe("evaluate", place / "run", "--data", place / "prepared", "--truth", place / "log" / "truth.parquet")
    awmoe("export", place / "run", "--output", place / "models", "--data", place / "prepared")
    return place


@pytest.fixture(scope="module")
def server(job: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a server on a copy of the model alone: everything it was made from is elsewhere."""
    alone = tmp_path_factory.mktemp("alone") / "awmoe"
    shutil.copytree(job / "models" / "awmoe", alone)
    command = [sys.executable, str(ROOT / "awmoe.py"), "serve", str(alone), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=alone.parent)
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.search(r"serving awmoe version 1 on (\S+)", line)
    assert found, f"the server said {line!r}"
    yield found.group(1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 0, "the server did not stop cleanly on SIGTERM"


def test_every_stage_writes_what_the_next_one_reads(job: Path) -> None:
    manifest = json.loads((job / "prepared" / "manifest.json").read_text())
    assert all(manifest["parts"][part]["sessions"] > 0 for part in ("train", "validation", "test")), manifest
    metrics = json.loads((job / "run" / "metrics.json").read_text())
    full = {ranking: values["auc"] for ranking, values in metrics["full"].items()}
    assert full["oracle"] > full["popularity"] > 0.5, f"the simulated log ranks wrongly: {full}"
    assert 0.5 < full["model"] < full["oracle"], f"the model is no better than chance, or than the truth: {full}"
    assert sorted(path.name for path in (job / "models" / "awmoe").iterdir()) == ["1"]


def test_prepared_data_is_validated_against_prepared_data(job: Path) -> None:
    prepared = job / "prepared"
    said = awmoe_here("validate", prepared, "--against", prepared, "--set", "validation.fewest_sessions=20")
    assert "all within their thresholds" in said
    awmoe_here("validate", prepared, "--against", job / "log", code=2)


def test_a_list_ranked_over_grpc_has_the_scores_of_evaluate(job: Path, server: str) -> None:
    from model.predict import predict
    from model.run_directory import load_run
    from pipeline.prepared_data import PreparedData
    from serving.recorded_session import recorded_session

    ranked = json.loads(
        awmoe("rank", "--server", server, "--data", job / "prepared", "--test-session", "3", "--json").stdout
    )
    scores = [item["score"] for item in ranked["items"]]
    assert scores == sorted(scores, reverse=True)
    assert len(ranked["gate"]) == 4
    assert ranked["version"] == 1
    run, data = load_run(job / "run"), PreparedData.open(job / "prepared")
    session_id = recorded_session(data, run.scenario.features, 3).session_id
    rows = [row for row in predict(run, data.files("test")).to_pylist() if row["session_id"] == session_id]
    expected = {row["item_id"]: row["score"] for row in rows}
    assert {item["item_id"]: item["score"] for item in ranked["items"]} == pytest.approx(expected, abs=1e-5)


def test_a_session_given_as_json_is_ranked_and_shown(job: Path, server: str, tmp_path: Path) -> None:
    session = {
        "user_id": "nobody",
        "query": {"terms": "cheap running shoes", "category": "Running shoes"},
        "behaviors": [{"item_id": "i5", "action": "click", "age_days": 0.5}],
        "candidates": ["i1", "i2", "i3"],
    }
    from pipeline.prepared_data import PreparedData

    items = PreparedData.open(job / "prepared").serving / "items.parquet"

    ids = pq.read_table(items)["item_id"].to_pylist()
    session["behaviors"][0]["item_id"] = ids[4]  # type: ignore[index]
    session["candidates"] = ids[:3]
    file = tmp_path / "session.json"
    file.write_text(json.dumps(session))
    shown = awmoe_here("rank", "--server", server, "--data", job / "prepared", "--session", file)
    assert all(item in shown for item in ids[:3]), shown
    assert "gate [" in shown

    session["candidates"] = ["no-such-item"]
    file.write_text(json.dumps(session))
    wrong = awmoe_here("rank", "--server", server, "--data", job / "prepared", "--session", file, code=2)
    assert "no-such-item" in wrong


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["preprocess", "none.yaml", "--input", "x", "--output", "OUT"], "none.yaml: no such scenario file"),
        (["preprocess", CONFIG, "--input", "no-log", "--output", "OUT"], "no-log"),
        (["preprocess", CONFIG, "--input", "EMPTY", "--output", "OUT"], "items"),
        (["preprocess", CONFIG, "--set", "training.epoch=1", "--input", "x", "--output", "OUT"], "allowed there: "),
        (["train", CONFIG, "--data", "EMPTY", "--output", "OUT"], "did not finish (no manifest)"),
        (["evaluate", "EMPTY", "--data", "JOB/prepared"], "awmoe train"),
        (["export", "EMPTY", "--output", "OUT"], "awmoe train"),
        (
            ["export", "JOB/run", "--output", "OUT", "--set", "export.floors.auc=0.999"],
            "is below export.floors.auc 0.999",
        ),
        (
            ["export", "JOB/run", "--output", "OUT", "--set", "training.epochs=1"],
            "only the section `export` can change",
        ),
        (["rollback", "JOB/models/awmoe"], "has only version 1"),
        (["score", "EMPTY", "--data", "JOB/prepared", "--output", "OUT"], "is no version that `awmoe export` wrote"),
        (["serve", "EMPTY"], "version"),
        (["rank", "--data", "EMPTY", "--test-session", "0"], "did not finish (no manifest)"),
        (["simulate", "--output", "OUT", "--items", "3"], "items"),
        (["demo", "--output", "JOB", "--overwrite"], "no demo made it"),
        (["train", CONFIG, "--data", "JOB/prepared", "--output", "JOB/prepared", "--overwrite"], "holds no run"),
        (
            ["train", CONFIG, "--data", "JOB/prepared", "--output", "OUT", "--set", "features.item.price.log=false"],
            "was made with `features.item.price.log: True`",
        ),
        (["evaluate", "JOB/run", "--data", "JOB/prepared", "--output", "no/m.json"], "there is no directory no"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_a_mistake_ends_with_one_clear_line_and_nothing_written(
    arguments: list[str], message: str, job: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    places = {"OUT": str(tmp_path / "out"), "EMPTY": str(tmp_path / "empty")}
    arguments = [places.get(a, a).replace("JOB", str(job)) for a in arguments]
    with chdir(tmp_path):
        said = awmoe_here(*arguments, code=2)
    assert message in said
    told = [line for line in said.splitlines() if not line.endswith(" ...")]  # less the progress
    assert len(told) == 1, f"more than one line: {said}"
    assert not (tmp_path / "out").exists(), f"half-written: {sorted((tmp_path / 'out').rglob('*'))}"


@pytest.mark.parametrize(("options", "without"), [([], ""), (["--overwrite"], " without --overwrite")])
def test_ctrl_c_tells_how_to_go_on(
    options: list[str], without: str, job: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("model.training.train.train", interrupted)
    output = tmp_path / "run"
    said = awmoe_here("train", CONFIG, "--data", job / "prepared", "--output", output, *options, code=130)
    assert said == f"{output}: stopped; the same command{without} continues from the last checkpoint\n"


def test_a_column_that_no_row_has_is_warned_of(job: Path, tmp_path: Path) -> None:
    arguments = ("--input", job / "log", "--output", tmp_path / "out", "--set", "features.item.shop.column=store")
    said = awmoe_here("preprocess", CONFIG, *arguments)
    assert "warning: table `shop` is empty: the training part has no value of `store`" in said


@pytest.mark.slow
def test_days_are_prepared_and_added_by_the_command(job: Path, tmp_path: Path) -> None:
    source = ("preprocess", CONFIG, "--input", job / "log", "--output", tmp_path / "days")
    split = "--set=pipeline.split={test_start: 2024-02-01}"
    first = awmoe_here(*source, split, "--date-range", "2024-01-10:2024-02-01")
    assert "outside the date range" in first, "the balance is shown"
    assert "holds prepared data already" in awmoe_here(*source, split, code=2)
    assert "must be FIRST:LAST" in awmoe_here(*source, split, "--date-range", "yesterday", code=2)
    awmoe_here(*source, split, "--date-range", "2024-02-02", "--vocabularies-from", tmp_path / "days")
    manifest = json.loads((tmp_path / "days" / "manifest.json").read_text())
    assert list(manifest["parts"]["test"]["days"]) == ["2024-02-01", "2024-02-02"]
    assert min(manifest["parts"]["train"]["days"]) >= "2024-01-10"
    assert [run["date_range"] for run in manifest["runs"]] == ["2024-01-10:2024-02-01", "2024-02-02:2024-02-02"]


@pytest.mark.slow
def test_a_new_day_alone_is_trained_from_the_run_of_the_days_before(job: Path, tmp_path: Path) -> None:
    prepared, before, after = (tmp_path / name for name in ("prepared", "before", "after"))
    source: list[str | Path] = ["preprocess", CONFIG, "--input", job / "log", "--output", prepared]
    awmoe_here(*source, "--set=pipeline.split={test_start: 2024-02-20}", "--date-range", "2024-01-20:2024-02-20")
    awmoe_here("train", CONFIG, "--data", prepared, "--output", before, *SMALL)
    awmoe_here(*source, "--set=pipeline.split={test_start: 2024-02-21}", "--date-range", "2024-02-20:2024-02-21")
    day: list[str | Path] = ["train", CONFIG, "--data", prepared, "--output", after, "--warm-start", before, *SMALL]
    told = awmoe_here(*day, "--date-range", "2023-02-20", code=2)
    assert "has no training day in 2023-02-20:2023-02-20; it has 2024-01-20 to 2024-02-20" in told
    assert f"{after}: starts from {before}; new rows: " in awmoe_here(*day, "--date-range", "2024-02-20")
    days = json.loads((prepared / "manifest.json").read_text())["parts"]["train"]["days"]
    assert json.loads((after / "run.json").read_text())["sessions"] == days["2024-02-20"]["sessions"] > 0
    old, new = ((run / "vocabularies" / "item.txt").read_text() for run in (before, after))
    assert new.startswith(old)


def test_rank_waits_for_a_server_no_longer_than_it_is_told(job: Path) -> None:
    arguments = ("--server", "127.0.0.1:1", "--data", job / "prepared", "--test-session", "0", "--wait", "0.5")
    assert "not reached within 0.5 s" in awmoe_here("rank", *arguments, code=1)


def test_rank_without_a_server_says_so(job: Path) -> None:
    arguments = ("--server", "127.0.0.1:1", "--data", job / "prepared", "--test-session", "0", "--timeout", "1")
    assert "is the server running" in awmoe_here("rank", *arguments, code=1)


def test_help_answers_within_a_second_for_every_command_with_an_example() -> None:
    started = time.monotonic()
    listed = awmoe("--help").stdout
    assert time.monotonic() - started < 1, "awmoe --help takes more than a second: what does it import?"
    stages = ("simulate", "preprocess", "validate", "train", "evaluate", "export", "demo")
    for command in (*stages, "rollback", "serve", "rank", "score", "compare", "ablate", "gates", "losses", "sweep"):
        assert command in listed
        assert f"awmoe {command} " in awmoe(command, "--help").stdout, f"{command} --help shows no example"


@pytest.mark.slow
def test_the_readmes_script_trains(job: Path, tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    script = next(block for block in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if ".fit(" in block)
    assert len(script.splitlines()) <= 40, "the README promises at most 40 lines"
    assert "demo-output/prepared" in script
    path = tmp_path / "script.py"
    path.write_text(script.replace("demo-output/prepared", str(job / "prepared")))
    run = subprocess.run(
        [sys.executable, str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        env={"PYTHONPATH": str(ROOT)},
    )
    assert run.returncode == 0, run.stderr
    assert "session_auc" in run.stdout


def test_the_benchmark_of_the_gate_ends_with_its_json_line(job: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.gate_once", "--run", str(job / "run"), "--repeats", "2"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout.splitlines()[-1])["gate_ratio"] > 0


@pytest.mark.slow
def test_the_demo_ends_with_its_json_line(tmp_path: Path) -> None:
    run = awmoe("demo", "--output", tmp_path / "demo", "--users", "1000", "--epochs", "1", "--json")
    result = json.loads(run.stdout.splitlines()[-1])
    assert {"auc", "popularity_auc", "oracle_auc", "seconds", "model_dir"} <= result.keys()
    assert Path(result["model_dir"], "1", "saved_model.pb").exists()
    assert 0.5 < result["auc"] < result["oracle_auc"]
    assert "An old user" in run.stderr
    assert "A new user" in run.stderr
    again = awmoe("demo", "--output", tmp_path / "demo", code=2)
    assert "--overwrite" in again.stderr


def test_the_readme_is_finished() -> None:
    assert "@@" not in (ROOT / "README.md").read_text(encoding="utf-8"), "a number was not filled in"
