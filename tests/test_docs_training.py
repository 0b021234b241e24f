"""What the help of `awmoe train` and docs/training.md name is there."""

from __future__ import annotations

import re
from pathlib import Path

from click.testing import CliRunner
from pydantic import BaseModel

from awmoe import cli
from pipeline.config import Model, Training

TEXT = (Path(__file__).parent.parent / "docs" / "training.md").read_text(encoding="utf-8")
SECTIONS: dict[str, type[BaseModel]] = {"model": Model, "training": Training}


def test_the_help_names_keys_that_there_are_with_their_defaults() -> None:
    shown = CliRunner().invoke(cli, ["train", "--help"]).output
    listed = re.findall(r"^    (model|training)\.(\w+)  +(\S+)", shown, flags=re.MULTILINE)
    assert len(listed) >= 6
    for section, key, said in listed:
        default = SECTIONS[section].model_fields[key].default
        if said[0].isdigit():
            assert float(said.rstrip(";")) == default, f"{section}.{key}"
        elif default is not None:
            assert default == said.rstrip(","), f"{section}.{key}"
    for section, key in re.findall(r"--set (model|training)\.(\w+)=", shown):
        assert key in SECTIONS[section].model_fields


def test_the_docs_name_keys_that_there_are() -> None:
    for section, key in re.findall(r"`(model|training)\.(\w+)", TEXT):
        assert key in SECTIONS[section].model_fields, f"{section}.{key}"
