"""The tiny scenario exported with random weights, for tests that serve it."""

from __future__ import annotations

from pathlib import Path


def exported_tiny_model(directory: Path, versions: int = 1) -> Path:
    """The model's directory, `<directory>/models/awmoe`, with versions 1, 2, ... of different weights."""
    # only the export needs Keras; what serves it starts without
    from random_run import random_run

    from export.publish import export
    from tiny_data import tiny_scenario

    for version in range(1, versions + 1):
        run = random_run(tiny_scenario(), directory / "data", seed=4 + version)
        published = export(run, directory / "models")
    return published.parent
