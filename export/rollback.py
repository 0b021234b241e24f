"""Takes the newest version of a served model back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from export.version_numbers import ROLLED_BACK, no_version, version_numbers
from pipeline.errors import InputError


@dataclass(frozen=True)
class Rollback:
    """What `rollback` did: `version` was served, `served` is now, and `kept` has the one taken back."""

    version: int
    served: int
    kept: Path


def rollback(directory: Path) -> Rollback:
    """Brings the version before the newest back.

    A server takes the largest number, so the newest version's directory is renamed to a name that is
    none: one step, after which a server that looks finds the version before, whole. `awmoe export` never
    gives its number again.

    Args:
        directory: of a model, as `awmoe export` writes it; it has the versions.

    Raises:
        InputError: it has no version before the newest, or none that is complete, or cannot be changed.
    """
    directory = Path(directory)
    try:
        versions = version_numbers(directory)
    except OSError as error:
        raise InputError(f"{directory}: cannot be read: {error.strerror}; give the model's own directory") from error
    if not versions:
        raise InputError(no_version(directory))
    if len(versions) == 1:
        raise InputError(
            f"{directory}: has only version {versions[0]}, so there is none to go back to; export another one"
        )
    *_, before, newest = versions
    if not (directory / str(before) / "saved_model.pb").is_file():
        raise InputError(f"{directory / str(before)}: is no complete version (no saved_model.pb); nothing was changed")
    kept = directory / f"{ROLLED_BACK}{newest}"
    if kept.exists():
        raise InputError(f"{kept}: is there already, and {newest} too; delete the one that is not needed")
    try:
        (directory / str(newest)).rename(kept)
    except OSError as error:
        raise InputError(f"{directory}: cannot be changed: {error.strerror}") from error
    return Rollback(newest, before, kept)
