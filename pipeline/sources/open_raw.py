"""Opens a file of a raw log; whatever is wrong with it becomes one line for the user."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, cast

import pyarrow as pa
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from pipeline.errors import InputError


@contextmanager
def open_raw(path: str) -> Iterator[BinaryIO]:
    """The bytes of a file, unpacked where its name ends with `.gz`.

    Beam would unpack too, but takes a file that was cut off for a shorter one.

    Raises:
        InputError: the file cannot be opened, or what is read from it inside the `with` is
            damaged or unfit; names the file.
    """
    try:
        with _open(path) as stream:
            if not path.endswith(".gz"):
                yield stream
                return
            yield cast(BinaryIO, gzip.GzipFile(fileobj=stream))
            if stream.tell() == 0:  # gzip takes no bytes at all for an empty file
                raise EOFError("it has no bytes")
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (OSError, EOFError, zlib.error, pa.ArrowException) as error:
        # `strerror`: the system cannot open it (no such file, is a directory); else it is what the file holds.
        reason = getattr(error, "strerror", None) or f"is it damaged? {' '.join(str(error).split())}"
        raise InputError(f"{path}: cannot be read, {reason}") from error


def _open(path: str) -> BinaryIO:
    try:
        return FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED)
    except OSError:
        raise
    except Exception as error:  # a file system of a cloud has exceptions of its own
        raise InputError(f"cannot be read, {' '.join(str(error).split())}") from error
