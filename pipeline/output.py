"""The output directory as the job writes it: revisions, and a manifest that is written last."""

from __future__ import annotations

import contextlib
import datetime
import io
import json
import os
import re
import socket
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.config import Scenario, Split
from pipeline.days import SECONDS_OF_A_DAY, DateRange, day_name
from pipeline.errors import InputError
from pipeline.folder import Folder, io_reason
from pipeline.prepared_data import MANIFEST, PARTS, SCENARIO, Part, parse_manifest, written_otherwise
from pipeline.record_file import RECORD_FILE
from pipeline.scenario_file import parse_scenario_text

REJECTS = "rejects"
COUNTS = "counts"
_REVISION = re.compile(r"revision-(\d{5})-[0-9a-f]{8}")
#: Says of a revision which process writes it.
_RUNNING = "running.json"
#: A run elsewhere that began longer ago than this is taken for dead.
_LONGEST_RUN = datetime.timedelta(days=2)


@dataclass(frozen=True)
class Output:
    """An output directory that a run is going to write to.

    A run writes a revision of its own and then the manifest, in one step: readers see the old
    data or the new, never a part. What no manifest names is of a run that goes on, or the rest of
    one that did not finish; the next run deletes such rests.

    Attributes:
        folder: the directory.
        manifest: what it holds; None if nothing, or if that is to be replaced.
        revision: the new run's.
        seen: the manifest's bytes when the run began; None if there was none.
        is_new: the directory was made by this run.
    """

    folder: Folder
    manifest: dict[str, Any] | None
    revision: str
    seen: bytes | None
    is_new: bool

    @classmethod
    def open(cls, path: str, scenario: Scenario, *, overwrite: bool, days: DateRange | None) -> Output:
        """Looks at what is there.

        Raises:
            InputError: the path cannot be an output, or holds data that this run must not touch.
        """
        folder = Folder.at(path)
        try:
            is_new = folder.is_local and _make_place(Path(folder.path))
            names = folder.files()
            seen = folder.read(MANIFEST) if MANIFEST in names else None
        except (OSError, ValueError) as error:  # ValueError: a scheme that no installed file system has
            raise InputError(f"{path}: cannot be made: {io_reason(error)}; choose another --output") from None
        given = parse_manifest(seen, f"{path}/{MANIFEST}") if seen is not None else None
        revisions = [int(match[1]) for name in names if (match := _REVISION.match(name))]
        strange = [name for name in names if name != MANIFEST and not _REVISION.match(name)]
        if strange and given is None:
            raise InputError(
                f"{path}: is not empty and holds no prepared data (there is {strange[0]}); choose another --output"
            )
        if given is not None and not overwrite:
            if days is None:
                raise InputError(
                    f"{path}: holds prepared data already; give --overwrite or another --output, or --date-range to "
                    "add or redo days"
                )
            _refuse_other_data(folder, given, scenario)
        # A name of its own: what a dead run's workers may still write goes nowhere.
        revision = f"revision-{1 + max(revisions, default=0):05d}-{uuid.uuid4().hex[:8]}"
        output = cls(folder, None if overwrite else given, revision, seen, is_new)
        try:
            output.delete_leftovers(given)
            running = {"host": socket.gethostname(), "pid": os.getpid(), "since": _now().isoformat()}
            output.target.write(_RUNNING, json.dumps(running).encode())
        except OSError as error:
            raise InputError(f"{path}: cannot be written: {io_reason(error)}; choose another --output") from None
        return output

    @property
    def target(self) -> Folder:
        """Where this run writes."""
        return self.folder / self.revision

    def boundaries(self, split: Split, days: DateRange | None) -> tuple[int, int] | None:
        """When validation and test begin, where the scenario or the days that stay say so; else the sessions will.

        Raises:
            InputError: a day that stays would belong to another part than it is in.
        """
        wanted = split.fixed_boundaries
        if self.manifest is None or split.by != "time":
            return wanted
        given = (self.manifest["split"]["validation_start"], self.manifest["split"]["test_start"])
        if wanted is None:
            return given
        moved = set()
        for before, after in zip(given, wanted, strict=True):
            if before == after:
                continue
            first, last = (second // SECONDS_OF_A_DAY for second in (min(before, after), max(before, after) - 1))
            moved |= {day_name(day) for day in range(first, last + 1) if days is None or day_name(day) not in days}
        if moved := moved & {day for part in self.manifest["parts"].values() for day in part["days"]}:
            raise InputError(
                f"{self.folder.path}: pipeline.split moves {', '.join(sorted(moved))} to another part; "
                "have --date-range cover these days too"
            )
        return wanted

    def discard(self) -> str:
        """Deletes this run's revision but for its rejects, unless it is published; gives the place of the rejects."""
        with contextlib.suppress(InputError):  # a damaged manifest names nothing
            if self.folder.has(MANIFEST) and self.revision in _revisions(self._manifest_now()):
                return ""
        names = self.target.files()
        rejects = [name for name in names if name.startswith(f"{REJECTS}/")]
        self.target.delete([name for name in names if name not in rejects])
        if self.is_new and not rejects:
            with contextlib.suppress(OSError):  # another run's files are in it by now
                Path(self.folder.path).rmdir()
        return f"{self.target.path}/{REJECTS}" if rejects else ""

    def parts(self, days: DateRange | None) -> dict[Part, dict[str, Any]]:
        """The manifest's `parts` with this run's: days that it covers are its own, others stay as they were."""
        written = self.target.files()
        parts: dict[Part, dict[str, Any]] = {}
        for part in PARTS:
            kept = self.manifest["parts"][part]["days"] if self.manifest else {}
            entries = {day: entry for day, entry in kept.items() if days is None or day not in days}
            files: dict[str, list[str]] = {}
            for name in written:
                if (match := RECORD_FILE.fullmatch(name)) and match["part"] == part:
                    files.setdefault(match["day"], []).append(f"{self.revision}/{name}")
            for name in written:
                if match := re.fullmatch(rf"{COUNTS}/{part}/(.+)\.parquet", name):
                    entries[match[1]] = {
                        "files": files.get(match[1], []),
                        "counts": f"{self.revision}/{name}",
                        **_amounts(self.counts(f"{self.revision}/{name}")),
                    }
            totals = {
                what: sum(entry[what] for entry in entries.values()) for what in ("sessions", "candidates", "positives")
            }
            parts[part] = {**totals, "days": dict(sorted(entries.items()))}
        return parts

    def counts(self, name: str) -> pa.RecordBatch:
        """A file of counts, in `COLUMN_COUNTS`; see `pipeline.column_counts`."""
        table = pq.read_table(io.BytesIO(self.folder.read(name)))
        return table.combine_chunks().to_batches()[0]

    def publish(self, manifest: Mapping[str, Any]) -> None:
        """Writes the manifest: from then on readers see this run's data.

        Raises:
            InputError: another run has published to the directory since this one began.
        """
        now = self.folder.read(MANIFEST) if self.folder.has(MANIFEST) else None
        if now != self.seen:
            raise InputError(f"{self.folder.path}: another run has written to it meanwhile; run again")
        self.folder.write(MANIFEST, (json.dumps(manifest, indent=2) + "\n").encode())
        self.target.delete([_RUNNING])

    def delete_leftovers(self, manifest: Mapping[str, Any] | None) -> None:
        """Deletes what the manifest does not name and no run is writing.

        Of a revision that is neither the latest nor that of the serving tables, only records and
        counts of days are named.
        """
        named: set[str] = set()
        whole: set[str] = set()
        if manifest is not None:
            whole = {manifest["latest"], manifest["serving"]}
            for part in manifest["parts"].values():
                for entry in part["days"].values():
                    named |= {*entry["files"], entry["counts"]}
        data = tuple(f"{name}/" for name in (*PARTS, COUNTS))
        unnamed: dict[str, list[str]] = {}
        for name in self.folder.files():
            revision, _, rest = name.partition("/")
            kept = name in named or (revision in whole and not rest.startswith(data))
            if _REVISION.fullmatch(revision) and not kept:
                unnamed.setdefault(revision, []).append(rest)
        for revision, names in unnamed.items():
            if revision != self.revision and _RUNNING in names and self._is_running(revision):
                continue
            (self.folder / revision).delete(names)

    def _is_running(self, revision: str) -> bool:
        try:
            running = json.loads((self.folder / revision).read(_RUNNING))
            if running["host"] == socket.gethostname():
                return _is_alive(running["pid"])
            return _now() - datetime.datetime.fromisoformat(running["since"]) < _LONGEST_RUN
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def _manifest_now(self) -> dict[str, Any]:
        return parse_manifest(self.folder.read(MANIFEST), f"{self.folder.path}/{MANIFEST}")


def _revisions(manifest: Mapping[str, Any]) -> set[str]:
    """The revisions that a manifest names."""
    entries = [entry for part in manifest["parts"].values() for entry in part["days"].values()]
    return {manifest["latest"], manifest["serving"], *(entry["counts"].partition("/")[0] for entry in entries)}


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _amounts(counts: pa.RecordBatch) -> dict[str, int]:
    """Sessions, candidates and positives of a part's day: sums over what was counted in its records."""

    def of(column: str) -> pa.RecordBatch:
        return counts.filter(pc.equal(counts.column("column"), column))

    labels = of("candidate_label")
    return {
        "sessions": int(pc.sum(of("candidate_count").column("count")).as_py() or 0),
        "candidates": int(pc.sum(labels.column("count")).as_py() or 0),
        "positives": int(pc.sum(pc.multiply(labels.column("number"), labels.column("count"))).as_py() or 0),
    }


def _make_place(target: Path) -> bool:
    """Makes the directory where it is not there; gives whether it did."""
    if Path.cwd().is_relative_to(target):
        raise InputError(f"{target}: is the directory you are in or above it; --output is a directory of its own")
    if target.exists() and not target.is_dir():
        raise InputError(f"{target}: is a file; --output is a directory")
    is_new = not target.exists()
    target.mkdir(parents=True, exist_ok=True)
    return is_new


def _refuse_other_data(folder: Folder, manifest: Mapping[str, Any], scenario: Scenario) -> None:
    """Days are added to days that were made in the same way."""
    name = f"{manifest['latest']}/{SCENARIO}"
    made = parse_scenario_text(folder.read(name).decode(), f"{folder.path}/{name}")
    if scenario.pipeline.partition_by == "none" or made.pipeline.partition_by == "none":
        raise InputError(
            f"{folder.path}: days can be added where pipeline.partition_by is `day`; choose another --output "
            "(--overwrite would replace everything)"
        )
    if difference := written_otherwise(made, scenario) or _sampled_otherwise(made, scenario):
        raise InputError(
            f"{folder.path}: was made with {difference}; use that again, or another --output "
            "(--overwrite would replace every day)"
        )


def _sampled_otherwise(made: Scenario, wanted: Scenario) -> str:
    """The first setting by which sessions, behaviours and samples of two scenarios differ; empty where none does."""
    names = ["source", "seed", "behaviors", "negatives_per_positive", "shown_negatives"]
    old, new = ({name: getattr(scenario.pipeline, name) for name in names} for scenario in (made, wanted))
    for settings, scenario in ((old, made), (new, wanted)):
        split = scenario.pipeline.split
        settings["split.by"] = split.by
        if split.by == "user":
            settings |= {"split.train": split.train, "split.validation": split.validation}
    for name in old.keys() | new.keys():
        if old.get(name) != new.get(name):
            return f"`pipeline.{name}: {old.get(name)}` and the scenario says `{new.get(name)}`"
    return ""
