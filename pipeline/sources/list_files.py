"""Lists the files of a raw log on any of Beam's file systems: a local path, gs://, s3://, hdfs://."""

from __future__ import annotations

from pathlib import Path

from apache_beam.io.filesystems import FileSystems

from pipeline.errors import InputError
from pipeline.folder import Folder, io_reason


def list_files(directory: str, holds: str) -> dict[str, str]:
    """What is directly in a directory: names to paths, by name.

    A directory inside is listed too, so that one which is named like a table is not passed over:
    opening it fails.

    Args:
        directory: a path or a URL.
        holds: what should be in it, for the error.

    Raises:
        InputError: there is no such directory, or it cannot be listed.
    """
    try:
        found = _list_local(directory) if FileSystems.get_scheme(directory) is None else _list_url(directory)
    except (OSError, ValueError) as error:  # ValueError: a scheme that no installed file system has
        raise InputError(f"{directory}: cannot be listed, {io_reason(error)}") from error
    if found is None:
        raise InputError(f"{directory}: no such directory; it should hold {holds}")
    return dict(sorted(found.items()))


def _list_local(directory: str) -> dict[str, str] | None:
    """Beam's own listing walks the whole tree and hides links to nowhere: a part of the log would be missed."""
    try:
        return {path.name: str(path) for path in Path(directory).iterdir()}
    except (FileNotFoundError, NotADirectoryError):
        return None


def _list_url(directory: str) -> dict[str, str] | None:
    """Object stores have no directories: one that holds nothing does not exist."""
    folder = Folder.at(directory)
    names = {name.split("/")[0] for name in folder.files()}
    # some stores mark a directory: a name that ends in /
    return {name: f"{folder.path}/{name}" for name in names if name} or None
