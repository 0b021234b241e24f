"""The commands of docs/runners.md: each one's options are this command's or Beam's."""

import re
import shlex
from pathlib import Path

import pytest

import awmoe
from pipeline.beam_pipeline import beam_pipeline

ROOT = Path(__file__).parent.parent


def commands() -> list[list[str]]:
    """The arguments of each `awmoe preprocess` of the page, its lines put together."""
    page = (ROOT / "docs" / "runners.md").read_text(encoding="utf-8").replace("\\\n", " ")
    return [shlex.split(line)[2:] for line in page.splitlines() if re.match("awmoe preprocess ", line)]


def test_every_runner_has_a_command() -> None:
    runners = {argument for command in commands() for argument in command if argument.startswith("--runner=")}
    assert runners == {f"--runner={name}Runner" for name in ("Flink", "Portable", "Spark", "Dataflow")}


@pytest.mark.parametrize("command", commands(), ids=lambda command: " ".join(command[5:7]))
def test_a_documented_command_has_no_unknown_option(command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    given = awmoe.preprocess.make_context("preprocess", command).params
    arguments = [argument for argument in given["beam_arguments"] if not argument.startswith("--runner=")]
    assert all(argument.startswith("--") for argument in arguments)
    beam_pipeline(arguments)  # on the local runner: Dataflow's would ask the cloud for the project
