"""What the commands of more than one file take."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from pipeline.config import Scenario

DIRECTORY = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)
SET = click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Lay a value over the file: training.epochs=1"
)


def load(config: Path, overrides: tuple[str, ...]) -> Scenario:
    """The scenario file with `--set` laid over it."""
    from pipeline.scenario_file import load_scenario

    return load_scenario(config, overrides)
