"""The versions of a model's directory, by their names."""

from __future__ import annotations

from pathlib import Path

#: A version that was taken back keeps its number in its name, so that no later one gets it.
ROLLED_BACK = ".rolled-back-"


def version_numbers(directory: Path) -> list[int]:
    """The versions that a server sees: directories named by a number, the newest last."""
    names = [path.name for path in directory.iterdir() if path.is_dir()]
    return sorted(int(name) for name in names if _is_number(name))


def rolled_back_numbers(directory: Path) -> list[int]:
    """Numbers of the versions that `awmoe rollback` took back, the newest last."""
    names = [path.name.removeprefix(ROLLED_BACK) for path in directory.glob(f"{ROLLED_BACK}*")]
    return sorted(int(name) for name in names if _is_number(name))


def _is_number(name: str) -> bool:
    # `isdecimal` takes digits of every script; a version is written as Python writes an integer
    return name.isdecimal() and str(int(name)) == name


def no_version(directory: Path) -> str:
    """Why a directory that has no version cannot be used, and what to give in its place."""
    if not directory.is_dir():
        return f"{directory}: no such directory; give the model's, which holds the numbered ones, or export first"
    if (directory / "saved_model.pb").exists():
        return f"{directory}: is one version of a model; give {directory.absolute().parent}, which holds all of them"
    return (
        f"{directory}: has no version, a directory named by a number; give the model's directory, which holds the "
        "numbered ones, or export first"
    )
