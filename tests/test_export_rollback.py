"""A version is taken back: a running server goes to the one before, and open sessions go on."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from random_run import random_run

import awmoe
from export.publish import export
from export.rollback import rollback
from export.version_numbers import no_version, rolled_back_numbers, version_numbers
from model.run_directory import Run
from pipeline.errors import InputError
from serving.client import SessionRanker
from serving.request import Session
from serving.server import ModelServer
from tiny_data import tiny_scenario

SESSION = Session(
    behaviors=[{"item_id": "item_1", "price": 3.0, "action": "action_1", "age_days": 0.5}],
    query={"terms": "term_1"},
    user={"activity": 12},
)
PAGE = [{"item_id": f"item_{i}", "price": 2.0 * i, "item_purchases": i} for i in range(4)]


def fake_versions(directory: Path, *numbers: int) -> Path:
    """What rollback looks at, without a model."""
    for number in numbers:
        (directory / str(number)).mkdir(parents=True)
        (directory / str(number) / "saved_model.pb").touch()
    return directory


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def test_the_newest_is_kept_under_a_name_that_no_server_takes(tmp_path: Path) -> None:
    directory = fake_versions(tmp_path / "awmoe", 2, 9, 10)
    (directory / "11").touch()  # no directory, no version
    done = rollback(directory)
    assert (done.version, done.served, done.kept) == (10, 9, directory / ".rolled-back-10")
    assert names(directory) == {"2", "9", "11", ".rolled-back-10"}
    assert rollback(directory).served == 2
    assert (version_numbers(directory), rolled_back_numbers(directory)) == ([2], [9, 10])
    with pytest.raises(InputError, match="has only version 2, so there is none to go back to"):
        rollback(directory)
    assert names(directory) == {"2", "11", ".rolled-back-9", ".rolled-back-10"}


def test_what_cannot_be_taken_back_stays_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none: cannot be read: No such file"):
        rollback(tmp_path / "none")
    with pytest.raises(InputError, match="has no version, a directory named by a number"):
        rollback(tmp_path)
    directory = fake_versions(tmp_path / "awmoe", 1, 2)
    (directory / "1" / "saved_model.pb").unlink()
    with pytest.raises(InputError, match=r"1: is no complete version .*nothing was changed"):
        rollback(directory)
    (directory / "1" / "saved_model.pb").touch()
    (directory / ".rolled-back-2").mkdir()
    with pytest.raises(InputError, match=r"rolled-back-2: is there already"):
        rollback(directory)
    assert names(directory) == {"1", "2", ".rolled-back-2"}


def test_the_command_says_what_is_served(tmp_path: Path) -> None:
    directory = fake_versions(tmp_path / "awmoe", 1, 2)
    said = CliRunner().invoke(awmoe.cli, ["rollback", str(directory)])
    assert said.exit_code == 0, said.output
    assert f"served now: {directory / '1'}" in said.output
    assert "taken back: version 2" in said.output
    assert "awmoe rollback models/awmoe" in CliRunner().invoke(awmoe.cli, ["rollback", "--help"]).output


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run]:
    scenario, data = tiny_scenario(), tmp_path_factory.mktemp("data")
    return random_run(scenario, data, seed=5), random_run(scenario, data, seed=6)


def test_a_running_server_goes_back_and_an_open_session_goes_on(runs: tuple[Run, Run], tmp_path: Path) -> None:
    for run in runs:
        directory = export(run, tmp_path / "models").parent

    def wait_for(version: int) -> None:
        deadline = time.monotonic() + 60
        while server.version != version:
            assert time.monotonic() < deadline, f"version {version} is not served within a minute"
            time.sleep(0.02)

    features = tiny_scenario().features
    with (
        ModelServer(directory, poll_seconds=0.05) as server,
        SessionRanker(server.target, features, timeout=30.0) as ranker,
    ):
        opened = ranker.open_session(SESSION)
        assert opened.version == 2
        scores = opened.score(PAGE)

        assert rollback(directory).served == 1
        wait_for(1)
        np.testing.assert_array_equal(opened.score(PAGE), scores, err_msg="the server keeps the version of the gate")
        earlier = ranker.open_session(SESSION)
        assert (opened.version, earlier.version) == (2, 1)
        assert np.abs(earlier.score(PAGE) - scores).max() > 0.01, "the versions must differ"

        # The next version has a number of its own; when it comes, version 2 is gone from memory too.
        with pytest.raises(InputError, match=r"version 2 was taken back; choose another version"):
            export(runs[1], tmp_path / "models", version=2)
        shutil.copytree(directory / "1", directory / ".tmp")
        (directory / ".tmp").rename(directory / "3")
        wait_for(3)
        np.testing.assert_allclose(opened.score(PAGE), earlier.score(PAGE), atol=1e-6)
        assert opened.version == 3


def test_an_export_after_it_has_a_number_of_its_own(runs: tuple[Run, Run], tmp_path: Path) -> None:
    directory = fake_versions(tmp_path / "models" / "awmoe", 6, 7)
    rollback(directory)
    assert export(runs[0], tmp_path / "models").name == "8"


def test_another_directory_is_told_which_to_give(tmp_path: Path) -> None:
    (tmp_path / "awmoe" / "1").mkdir(parents=True)
    (tmp_path / "awmoe" / "1" / "saved_model.pb").touch()
    assert "no such directory" in no_version(tmp_path / "awmo")
    assert f"is one version of a model; give {tmp_path / 'awmoe'}," in no_version(tmp_path / "awmoe" / "1")
    assert "give the model's directory" in no_version(tmp_path)
