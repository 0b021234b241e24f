"""Which code a run was trained with."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import tensorflow as tf

_HERE = Path(__file__).resolve().parent


def code_version() -> dict[str, Any]:
    """Versions of the package, Python and TensorFlow; of a git checkout its commit, and whether files were changed."""
    try:
        package = version("aw-moe")
    except PackageNotFoundError:  # run from a directory that is not installed
        package = None
    found: dict[str, Any] = {"package": package, "python": platform.python_version(), "tensorflow": tf.__version__}
    # A package that is installed within somebody's repository is no part of it.
    if _git("ls-files", "--error-unmatch", Path(__file__).name) is not None:
        changed = _git("status", "--porcelain", "--untracked-files=no")
        found |= {"commit": _git("rev-parse", "HEAD"), "changed": bool(changed)}
    return found


def _git(*arguments: str) -> str | None:
    """What git says in this file's directory; None where it fails or is not installed."""
    try:
        done = subprocess.run(["git", *arguments], cwd=_HERE, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
