"""docs/models.md names every model, loss and option that there is, and none that is not."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

from pydantic import BaseModel

from pipeline.config import Model, ModelName, Training

TEXT = (Path(__file__).parent.parent / "docs" / "models.md").read_text(encoding="utf-8")


def options(section: type[BaseModel], prefix: str = "") -> set[str]:
    """Keys of the leaves, as they are written under `model:`."""
    names: set[str] = set()
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            names |= options(field.annotation, f"{name}.")
        else:
            names.add(prefix + name)
    return names


def test_every_option_has_a_row_and_every_row_is_of_an_option() -> None:
    rows = re.findall(r"^\| (`[a-z_., `0-9]+`) \|", TEXT.partition("## Options")[2], flags=re.MULTILINE)
    documented = {name for row in rows for name in re.findall(r"`([^`]+)`", row)}
    losses = set(get_args(Training.model_fields["loss"].annotation))
    assert documented - losses - {"training.loss"} == options(Model) - {"name"}


def test_every_model_and_loss_is_there() -> None:
    for name in (*get_args(ModelName), *get_args(Training.model_fields["loss"].annotation)):
        assert re.search(rf"^\| `{name}`", TEXT, flags=re.MULTILINE), f"no row of {name}"
