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


@dataclass(frozen=True)
class Folder:
    """A folder by its path. A file in it is whole or not there, whenever the writer stops.

    Object stores have no folders; there it is what the names of its files begin with.
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
            found = [str(path.relative_to(self.path)) for path in Path(self.path).rglob("*") if path.is_file()]
        else:
            found = [metadata.path.removeprefix(f"{self.path}/") for metadata in self._match("**")]
        return sorted(found)

    def size(self) -> int:
        """Bytes of the files directly in it; 0 where it is not there."""
        if self.is_local:
            folder = Path(self.path)
            return sum(p.stat().st_size for p in folder.iterdir() if p.is_file()) if folder.is_dir() else 0
        return sum(metadata.size_in_bytes for metadata in self._match("*"))

    def make(self) -> None:
        """Makes a local folder, and those above it; an object store needs none."""
        if self.is_local:
            Path(self.path).mkdir(parents=True, exist_ok=True)

    def read(self, name: str) -> bytes:
        """A file's bytes."""
        with FileSystems.open(f"{self.path}/{name}", compression_type=CompressionTypes.UNCOMPRESSED) as file:
            return bytes(file.read())

    def write(self, name: str, data: bytes) -> None:
        """Writes a file, replacing one of that name."""
        target = f"{self.path}/{name}"
        if not self.is_local:  # an object has its name once it is closed
            with FileSystems.create(target, compression_type=CompressionTypes.UNCOMPRESSED) as file:
                file.write(data)
            return
        incomplete = self._beside(target)
        incomplete.write_bytes(data)
        incomplete.replace(target)

    def take(self, name: str, local_file: Path) -> None:
        """Moves a local file here."""
        target = f"{self.path}/{name}"
        if self.is_local:
            incomplete = self._beside(target)
            shutil.move(local_file, incomplete)
            incomplete.replace(target)
            return
        with (
            local_file.open("rb") as source,
            FileSystems.create(target, compression_type=CompressionTypes.UNCOMPRESSED) as file,
        ):
            shutil.copyfileobj(source, file, 2**22)
        local_file.unlink()

    def delete(self, names: list[str] | None = None) -> None:
        """Deletes these files and the folders that are then empty; without names, everything."""
        names = self.files() if names is None else names
        if self.is_local:
            for name in names:
                (Path(self.path) / name).unlink(missing_ok=True)
            for parent, _, _ in os.walk(self.path, topdown=False):
                if not any(Path(parent).iterdir()):
                    Path(parent).rmdir()
        elif names:
            FileSystems.delete([_literal(f"{self.path}/{name}") for name in names])

    def _match(self, pattern: str) -> list[FileMetadata]:
        (match,) = FileSystems.match([f"{_literal(self.path)}/{pattern}"])
        return list(match.metadata_list)

    def _beside(self, target: str) -> Path:
        """A hidden name beside the target, so that the last step is a rename."""
        path = Path(target)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.with_name(f".{path.name}.{uuid.uuid4().hex}")


def _literal(path: str) -> str:
    """A path as a pattern that only it matches."""
    return re.sub(r"([\[*?])", r"[\1]", path)


def io_reason(error: BaseException) -> str:
    """What went wrong, in one line: Beam wraps the error of a file system, by pattern and path."""
    while details := getattr(error, "exception_details", None):
        error = next(iter(details.values()))
    return " ".join(str(getattr(error, "strerror", None) or error).split())
