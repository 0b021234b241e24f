"""A file system with a scheme of its own, for tests of reading and writing beyond local paths.

`elsewhere://tmp/x/log` is the local `/tmp/x/log`. It behaves as object stores do: no directories (only
files exist, writing one needs no directory), and listing is by prefix. Importing it registers it with Beam.
A path under `forbidden` cannot be listed, opened or written.

`tree://tmp/x/log` is the same with folders, as Beam's HDFS has it: a listing is of one level, with the folders in
it, and fails where there is none; nothing is written or renamed over a file that exists.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from apache_beam.io.filesystem import BeamIOError, CompressionTypes, FileMetadata
from apache_beam.io.localfilesystem import LocalFileSystem

SCHEME = "elsewhere"
_ROOT = f"{SCHEME}:/"


def url_of(path: Path) -> str:
    """The URL of a local path."""
    return f"{_ROOT}{path.absolute()}"


def local(url: str) -> str:
    """The local path of a URL."""
    if not url.startswith(f"{_ROOT}/"):
        raise ValueError(f"{url}: is no {SCHEME}:// URL")
    if "forbidden" in url:
        raise PermissionError(f"403 no access to {url}\nask its owner")
    return url.removeprefix(_ROOT)


class SchemeFileSystem(LocalFileSystem):
    """Local files under URLs."""

    @classmethod
    def scheme(cls) -> str:
        return SCHEME

    def has_dirs(self) -> bool:
        return False

    def join(self, basepath: str, *paths: str) -> str:
        return "/".join([basepath.rstrip("/"), *(path.strip("/") for path in paths)])

    def split(self, path: str) -> tuple[str, str]:
        head, _, tail = path.rpartition("/")
        return head, tail

    def mkdirs(self, path: str) -> None:
        local(path)

    def _url_dirname(self, url_or_path: str) -> str:
        return self.split(url_or_path)[0]

    def _list(self, dir_or_prefix: str) -> Iterator[FileMetadata]:
        prefix = local(dir_or_prefix)
        for root, _, files in os.walk(prefix if prefix.endswith("/") else Path(prefix).parent):
            for path in (Path(root, name) for name in files):
                if str(path).startswith(prefix):
                    yield FileMetadata(f"{_ROOT}{path}", path.stat().st_size, path.stat().st_mtime)

    def create(self, path: str, mime_type: str = "", compression_type: str = CompressionTypes.AUTO) -> BinaryIO:
        return super().create(local(path), mime_type, compression_type)

    def open(self, path: str, mime_type: str = "", compression_type: str = CompressionTypes.AUTO) -> BinaryIO:
        return super().open(local(path), mime_type, compression_type)

    def copy(self, source_file_names: list[str], destination_file_names: list[str]) -> None:
        self._make_parents(destination_file_names)
        super().copy([*map(local, source_file_names)], [*map(local, destination_file_names)])

    def rename(self, source_file_names: list[str], destination_file_names: list[str]) -> None:
        self._make_parents(destination_file_names)
        super().rename([*map(local, source_file_names)], [*map(local, destination_file_names)])

    def exists(self, path: str) -> bool:
        return Path(local(path)).is_file()

    def size(self, path: str) -> int:
        return super().size(local(path))

    def last_updated(self, path: str) -> float:
        return Path(local(path)).stat().st_mtime

    def checksum(self, path: str) -> str:
        return str(Path(local(path)).stat().st_size)

    def metadata(self, path: str) -> FileMetadata:
        if not self.exists(path):
            raise BeamIOError(f"no such file: {path}")
        return FileMetadata(path, self.size(path), self.last_updated(path))

    def delete(self, paths: list[str]) -> None:
        """Deletes files, or all files of a prefix that ends with a slash or a pattern."""
        failed: dict[str, Any] = {}
        for match in self.match([f"{path}**" if path.endswith("/") else path for path in paths]):
            if not match.metadata_list:
                failed[match.pattern] = OSError("no files found to delete")
            for file in match.metadata_list:
                Path(local(file.path)).unlink()
        if failed:
            raise BeamIOError("Delete operation failed", failed)

    @staticmethod
    def _make_parents(urls: list[str]) -> None:
        for url in urls:
            Path(local(url)).parent.mkdir(parents=True, exist_ok=True)


def tree_url_of(path: Path) -> str:
    """The URL of a local path, in the file system with folders."""
    return _tree(url_of(path))


class TreeFileSystem(SchemeFileSystem):
    """Local files under URLs, with folders."""

    @classmethod
    def scheme(cls) -> str:
        return "tree"

    def has_dirs(self) -> bool:
        return True

    def _list(self, dir_or_prefix: str) -> Iterator[FileMetadata]:
        folder = Path(local(_flat(dir_or_prefix)))
        if not folder.is_dir():
            raise BeamIOError("List operation failed", {dir_or_prefix: OSError("File does not exist")})
        for path in folder.iterdir():
            yield FileMetadata(tree_url_of(path), 0 if path.is_dir() else path.stat().st_size, path.stat().st_mtime)

    def exists(self, path: str) -> bool:
        return Path(local(_flat(path))).exists()

    def create(self, path: str, mime_type: str = "", compression_type: str = CompressionTypes.AUTO) -> BinaryIO:
        if self.exists(path):
            raise BeamIOError(f"Path already exists: {path}")
        return super().create(_flat(path), mime_type, compression_type)

    def open(self, path: str, mime_type: str = "", compression_type: str = CompressionTypes.AUTO) -> BinaryIO:
        return super().open(_flat(path), mime_type, compression_type)

    def rename(self, source_file_names: list[str], destination_file_names: list[str]) -> None:
        if any(map(self.exists, destination_file_names)):
            raise BeamIOError(f"Path already exists: {destination_file_names}")
        super().rename([*map(_flat, source_file_names)], [*map(_flat, destination_file_names)])

    def size(self, path: str) -> int:
        return super().size(_flat(path))

    def last_updated(self, path: str) -> float:
        return super().last_updated(_flat(path))

    def delete(self, paths: list[str]) -> None:
        for path in paths:
            Path(local(_flat(path))).unlink()


def _tree(url: str) -> str:
    return url.replace(f"{SCHEME}:", "tree:", 1)


def _flat(url: str) -> str:
    return url.replace("tree:", f"{SCHEME}:", 1)
