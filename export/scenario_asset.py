"""The scenario inside a published version, so that it says itself what it takes.

It lies in `assets.extra/`, where TensorFlow Serving ignores what it does not know.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.config import Scenario
from pipeline.errors import InputError
from pipeline.scenario_file import dump_scenario, load_scenario

SCENARIO_FILE = Path("assets.extra") / "scenario.yaml"


def write_scenario_asset(version_directory: Path, scenario: Scenario) -> None:
    """Adds the scenario, with its features, to a SavedModel's directory."""
    path = version_directory / SCENARIO_FILE
    path.parent.mkdir(exist_ok=True)
    path.write_text(dump_scenario(scenario), encoding="utf-8")


def read_scenario_asset(version_directory: Path) -> Scenario:
    """The scenario a version was trained from.

    Raises:
        InputError: the directory is no version that `awmoe export` wrote.
    """
    path = version_directory / SCENARIO_FILE
    if not path.is_file():
        raise InputError(
            f"{version_directory}: is no version that `awmoe export` wrote (no {SCENARIO_FILE}); "
            "give one, <models>/<model name>/<number>"
        )
    return load_scenario(path)
