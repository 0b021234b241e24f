"""A part of prepared data, as a training reads it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from model.readable_part import readable_part
from pipeline.prepared_data import Part, PreparedData


@dataclass(frozen=True)
class TrainingPart:
    """Files, and what of them is read.

    Attributes:
        name: of the part.
        files: its TFRecord files.
        records: how many of each file are read, from its beginning; None for all.
        sessions: how many are read.
        skipped: sessions that cannot be read.
    """

    name: Part
    files: list[str]
    records: list[int] | None
    sessions: int
    skipped: int = 0


def training_part(data: PreparedData, name: Part, *, skip_corrupt: bool, tell: Callable[[str], object]) -> TrainingPart:
    """A part of the data; with `skip_corrupt` every file is read, and without the rest of broken ones.

    Args:
        tell: gets a line before files are read, and for each broken one.
    """
    files, sessions = data.files(name), data.sessions(name)
    if skip_corrupt and files:
        tell(f"{name}: reads {len(files):,} files to find broken ones")
    readable = [readable_part(file) for file in files] if skip_corrupt else []
    if not any(found.error for found in readable):
        return TrainingPart(name, files, None, sessions)
    for file, found in zip(files, readable, strict=True):
        if found.error:
            tell(f"warning: {file}: is broken and left out after {found.records:,} sessions ({found.error})")
    records = [found.records for found in readable]
    return TrainingPart(name, files, records, sum(records), sessions - sum(records))
