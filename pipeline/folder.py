"""A folder on any file system that Beam knows: local, gs://, s3://, hdfs://."""

from __future__ import annotations

import os
import re
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path

from apache_beam.io.filesystem import CompressionTypes, FileMetadata
from apache_beam.io.filesystems import FileSystems

#: A JSON Lines file that is not packed is about so many times the size of the same table in Parquet.
_PLAIN_JSON = 8


@dataclass(frozen=True)
class Folder:
    """A folder by its path. A file in it is whole or not there, whenever the writer stops.

    Object stores have no folders; there it is what the names of its files begin with, and a file has
    its name once it is closed. Elsewhere it is written under another name first.
    """

    path: str

    @classmethod
    def at(cls, path: str) -> Folder:
        """The folder at a path or URL; a local one becomes absolute."""
        return cls(path.rstrip("/") if FileSystems.get_scheme(path) else str(Path(path).resolve()))

    def __truediv__(self, name: str) -> Folder:
        return Folder(f"{self.path}/{name}")

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine's own file system."""
        return FileSystems.get_scheme(self.path) is None

    def has(self, name: str) -> bool:
        """Whether there is a file of this name."""
        return bool(FileSystems.exists(f"{self.path}/{name}"))

    def files(self) -> list[str]:
        """Names of all files, also of those in folders below, sorted."""
        if self.is_local:  # a local path may have characters that a pattern gives a meaning
            return sorted(str(p.relative_to(self.path)) for p in Path(self.path).rglob("*") if p.is_file())
        names = [metadata.path.removeprefix(f"{self.path}/") for metadata in self._all()]
        return sorted(name for name in names if not name.endswith("/") and name)  # consoles mark a folder so

    def size(self) -> int:
        """Bytes of the files directly in it, as if they were packed; 0 where it is not there."""
        if self.is_local:
            folder = Path(self.path)
            sizes = [(p.name, p.stat().st_size) for p in folder.iterdir() if p.is_file()] if folder.is_dir() else []
        else:
            sizes = [(metadata.path, metadata.size_in_bytes) for metadata in self._match("*")]
        return sum(size // _PLAIN_JSON if name.endswith((".json", ".jsonl")) else size for name, size in sizes)

    def make(self) -> None:
        """Makes a local folder, and those above it; others come with their files."""
        if self.is_local:
            Path(self.path).mkdir(parents=True, exist_ok=True)

    def read(self, name: str) -> bytes:
        """A file's bytes."""
        with FileSystems.open(f"{self.path}/{name}", compression_type=CompressionTypes.UNCOMPRESSED) as file:
            return bytes(file.read())

    def write(self, name: str, data: bytes) -> None:
        """Writes a file, replacing one of that name."""
        target = f"{self.path}/{name}"
        incomplete = self._beside(target)
        with FileSystems.create(incomplete, compression_type=CompressionTypes.UNCOMPRESSED) as file:
            file.write(data)
        self._rename(incomplete, target)

    def take(self, name: str, local_file: Path) -> None:
        """Moves a local file here, replacing one of that name."""
        target = f"{self.path}/{name}"
        incomplete = self._beside(target)
        if self.is_local:
            Path(incomplete).parent.mkdir(parents=True, exist_ok=True)
            shutil.move(local_file, incomplete)
        else:
            with (
                local_file.open("rb") as source,
                FileSystems.create(incomplete, compression_type=CompressionTypes.UNCOMPRESSED) as file,
            ):
                shutil.copyfileobj(source, file, 2**22)
            local_file.unlink()
        self._rename(incomplete, target)

    def delete(self, names: list[str]) -> None:
        """Deletes these files, and locally the folders that are then empty, this one too."""
        if self.is_local:
            for name in names:
                (Path(self.path) / name).unlink(missing_ok=True)
            for parent, _, _ in os.walk(self.path, topdown=False):
                if not any(Path(parent).iterdir()):
                    Path(parent).rmdir()
        elif names:
            FileSystems.delete([self._pattern(f"{self.path}/{name}") for name in names])

    def _all(self) -> list[FileMetadata]:
        """All files of a remote folder. Some file systems (HDFS) list one level, folders among the files."""
        if not self._has_dirs:
            return self._match("**")
        if not FileSystems.exists(self.path):
            return []
        found = []
        for metadata in self._match("*"):
            path = metadata.path.rstrip("/")
            is_folder = metadata.size_in_bytes == 0 and _is_folder(path)
            found += Folder(path)._all() if is_folder else [metadata]
        return found

    def _match(self, pattern: str) -> list[FileMetadata]:
        try:
            (match,) = FileSystems.match([f"{self._pattern(self.path)}/{pattern}"])
        except OSError:
            if self._has_dirs:  # HDFS does not list what is no folder
                return []
            raise
        return list(match.metadata_list)

    def _pattern(self, path: str) -> str:
        """What deletes or lists just this path: object stores take patterns, HDFS takes paths."""
        return path if self._has_dirs else re.sub(r"([\[*?])", r"[\1]", path)

    @property
    def _has_dirs(self) -> bool:
        return bool(FileSystems.get_filesystem(self.path).has_dirs())

    def _beside(self, target: str) -> str:
        """Where to write first: a hidden name beside the target; an object takes its name at the end anyway."""
        if not self._has_dirs:
            return target
        parent, _, name = target.rpartition("/")
        return f"{parent}/.{name}.{uuid.uuid4().hex}"

    def _rename(self, incomplete: str, target: str) -> None:
        if self.is_local:
            Path(incomplete).replace(target)
        elif incomplete != target:
            if FileSystems.exists(target):  # HDFS renames to no name that is taken
                FileSystems.delete([target])
            FileSystems.rename([incomplete], [target])


def _is_folder(path: str) -> bool:
    """Whether what has no bytes is a folder: an empty file cannot be listed."""
    try:
        FileSystems.match([f"{path}/*"])
    except OSError:
        return False
    return True


def io_reason(error: BaseException) -> str:
    """What went wrong, in one line: Beam wraps the error of a file system, by pattern and path."""
    while details := getattr(error, "exception_details", None):
        error = next(iter(details.values()))
    return " ".join(str(getattr(error, "strerror", None) or error).split())
