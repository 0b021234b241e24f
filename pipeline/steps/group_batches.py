"""Groups batches by key: the job's one way to shuffle."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import apache_beam as beam
import pyarrow as pa
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.windowed_value import WindowedValue

from pipeline.batches import join_batches, read_batch, write_batch

#: Batches of a key are joined until all keys together have this many bytes: a log in many small
#: pieces costs no more than one in few large ones.
_JOINED_BYTES = 64 * 2**20
#: As many batches wait at most: small ones take more memory than their bytes.
_WAITING = 8192
_Place = tuple[str, int]  # a spilled batch's file, and where in it


class GroupBatches(beam.PTransform):
    """`{name: pairs of (key, batch)}` to pairs of (key, {name: list of batches}).

    A runner with a shuffle of its own (Flink, Dataflow) keeps what waits for its group on disk.
    Beam's local runner keeps it in memory, so there the batches go to files, and only their
    places are grouped; a group's batches are read by memory mapping.

    Args:
        spill: directory on a disk that all workers share; None leaves the batches to the runner.
    """

    def __init__(self, spill: str | None) -> None:
        super().__init__()
        self._spill = spill

    def expand(self, tables: Mapping[str, beam.PCollection]) -> beam.PCollection:
        """Joins small batches, groups, and reads back what was spilled."""
        grouped = {name: self._collect(name, table) for name, table in tables.items()} | "Group" >> beam.CoGroupByKey()
        return grouped | "ReadSpilled" >> beam.MapTuple(_read_spilled) if self._spill else grouped

    def _collect(self, name: str, table: beam.PCollection) -> beam.PCollection:
        key, _ = cast(Any, table.element_type).tuple_types
        value = _Place if self._spill else pa.RecordBatch
        collect = beam.ParDo(_Collect(self._spill)).with_output_types(beam.typehints.Tuple[key, value])
        return table | f"Collect{name.title()}" >> collect


class _Collect(beam.DoFn):
    def __init__(self, spill: str | None) -> None:
        self._spill = spill

    def start_bundle(self) -> None:
        # By key and columns: a table may have batches of several kinds.
        self._waiting: dict[tuple[Hashable, tuple[str, ...]], list[pa.RecordBatch]] = defaultdict(list)
        self._bytes = self._number = 0
        self._file: pa.NativeFile | None = None

    def process(self, element: tuple[Hashable, pa.RecordBatch]) -> Iterator[tuple[Hashable, pa.RecordBatch | _Place]]:
        key, batch = element
        self._waiting[key, tuple(batch.schema.names)].append(batch)
        self._bytes += batch.nbytes
        self._number += 1
        if self._bytes > _JOINED_BYTES or self._number > _WAITING:
            yield from self._flush()

    def finish_bundle(self) -> Iterator[WindowedValue]:
        for element in self._flush():
            yield GlobalWindows.windowed_value(element)
        if self._file is not None:
            self._file.close()

    def _flush(self) -> Iterator[tuple[Hashable, pa.RecordBatch | _Place]]:
        for (key, _), batches in self._waiting.items():
            batch = join_batches(batches)
            yield key, (self._write(batch) if self._spill else batch)
        self._waiting.clear()
        self._bytes = self._number = 0

    def _write(self, batch: pa.RecordBatch) -> _Place:
        if self._file is None:
            # One file a bundle: a bundle that is tried again leaves a file that nothing points to.
            self._path = str(Path(self._spill or "") / f"{uuid.uuid4().hex}.arrow")
            self._file = pa.OSFile(self._path, "wb")
        place = self._file.tell()
        write_batch(batch, self._file)
        return self._path, place


def _read_spilled(key: Hashable, tables: dict[str, list[_Place]]) -> tuple[Hashable, dict[str, list[pa.RecordBatch]]]:
    files: dict[str, pa.MemoryMappedFile] = {}  # one mapping a file, however many of its batches the group has

    def read(path: str, place: int) -> pa.RecordBatch:
        if path not in files:
            files[path] = pa.memory_map(path)
        source = files[path]
        source.seek(place)
        return read_batch(source)

    return key, {name: [read(*place) for place in places] for name, places in tables.items()}
