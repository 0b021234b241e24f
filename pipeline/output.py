"""The output directory as the job writes it: revisions, and a manifest that is written last."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.config import Scenario, Split, parse_scenario_text
from pipeline.days import SECONDS_OF_A_DAY, DateRange, day_name
from pipeline.errors import InputError
from pipeline.folder import Folder, io_reason
from pipeline.prepared_data import MANIFEST, PARTS, SCENARIO, Part, parse_manifest, written_otherwise

REJECTS = "rejects"
COUNTS = "counts"
_REVISION = re.compile(r"revision-(\d{5})")


@dataclass(frozen=True)
class Output:
    """An output directory that a run is going to write to.

    A run writes a revision of its own and then the manifest, in one step: readers see the old
    data or the new, never a part. What no manifest names is the rest of a run that did not
    finish; the next run deletes it.

    Attributes:
        folder: the directory.
        manifest: what it holds; None if nothing, or if that is to be replaced.
        revision: the new run's.
    """

    folder: Folder
    manifest: dict[str, Any] | None
    revision: str

    @classmethod
    def open(cls, path: str, scenario: Scenario, *, overwrite: bool, days: DateRange | None) -> Output:
        """Looks at what is there.

        Raises:
            InputError: the path cannot be an output, or holds data that this run must not touch.
        """
        folder = Folder.at(path)
        try:
            if folder.is_local:
                _make_place(Path(folder.path))
            names = folder.files()
            text = folder.read(MANIFEST) if MANIFEST in names else None
        except (OSError, ValueError) as error:  # ValueError: a scheme that no installed file system has
            raise InputError(f"{path}: cannot be made: {io_reason(error)}; choose another --output") from None
        given = parse_manifest(text, f"{path}/{MANIFEST}") if text is not None else None
        revisions = {int(match[1]) for name in names if (match := _REVISION.match(name))}
        strange = [name for name in names if name != MANIFEST and not _REVISION.match(name)]
        if strange and given is None:
            raise InputError(f"{path}: is not empty and holds no prepared data; choose another --output")
        if given is not None and not overwrite:
            if days is None:
                raise InputError(
                    f"{path}: holds prepared data already; give --overwrite or another --output, or --date-range to "
                    "add or redo days"
                )
            _refuse_other_data(folder, given, scenario)
        revision = f"revision-{1 + max(revisions, default=0):05d}"
        output = cls(folder, None if overwrite else given, revision)
        output.delete_leftovers(given)
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
        """Deletes this run's revision but for its rejects; gives the place of these, empty if there are none."""
        names = self.target.files()
        rejects = [name for name in names if name.startswith(f"{REJECTS}/")]
        self.target.delete([name for name in names if name not in rejects])
        self.folder.delete([])  # the folder itself, if that leaves it empty
        return f"{self.target.path}/{REJECTS}" if rejects else ""

    def parts(self, days: DateRange | None) -> dict[Part, dict[str, Any]]:
        """The manifest's `parts` with this run's: days that it covers are its own, others stay as they were."""
        written = self.target.files()
        parts: dict[Part, dict[str, Any]] = {}
        for part in PARTS:
            kept = self.manifest["parts"][part]["days"] if self.manifest else {}
            entries = {day: entry for day, entry in kept.items() if days is None or day not in days}
            for name in written:
                if match := re.fullmatch(rf"{COUNTS}/{part}/(.+)\.parquet", name):
                    files = [n for n in written if n.startswith(f"{part}/{match[1]}/")]
                    entries[match[1]] = {
                        "files": [f"{self.revision}/{file}" for file in files],
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
            InputError: another run has written to the directory meanwhile.
        """
        now = parse_manifest(self.folder.read(MANIFEST), MANIFEST) if self.folder.has(MANIFEST) else None
        if self.manifest is not None and now != self.manifest:
            raise InputError(f"{self.folder.path}: another run has written to it meanwhile; run again")
        self.folder.write(MANIFEST, (json.dumps(manifest, indent=2) + "\n").encode())

    def delete_leftovers(self, manifest: Mapping[str, Any] | None) -> None:
        """Deletes revisions' files that the manifest does not name; the rest of a revision goes with its last day."""
        named: set[str] = set()
        whole: set[str] = set()
        if manifest is not None:
            whole = {manifest["latest"], manifest["serving"]}
            for part in manifest["parts"].values():
                for entry in part["days"].values():
                    named |= {*entry["files"], entry["counts"]}
        data = tuple(f"{name}/" for name in (*PARTS, COUNTS))
        unnamed = []
        for name in self.folder.files():
            revision, _, rest = name.partition("/")
            kept = name in named or (revision in whole and not rest.startswith(data))
            if _REVISION.fullmatch(revision) and not kept:
                unnamed.append(name)
        self.folder.delete(unnamed)


def _amounts(counts: pa.RecordBatch) -> dict[str, int]:
    """Sessions, candidates and positives of a part's day: sums over what was counted in its records."""
    rows = counts.to_pandas()
    sizes, labels = (rows[rows["column"] == name] for name in ("candidate_count", "candidate_label"))
    return {
        "sessions": int(sizes["count"].sum()),
        "candidates": int(labels["count"].sum()),
        "positives": int((labels["number"] * labels["count"]).sum()),
    }


def _make_place(target: Path) -> None:
    if Path.cwd().is_relative_to(target):
        raise InputError(f"{target}: is the directory you are in or above it; --output is a directory of its own")
    if target.exists() and not target.is_dir():
        raise InputError(f"{target}: is a file; --output is a directory")
    target.mkdir(parents=True, exist_ok=True)


def _refuse_other_data(folder: Folder, manifest: Mapping[str, Any], scenario: Scenario) -> None:
    name = f"{manifest['latest']}/{SCENARIO}"
    made = parse_scenario_text(folder.read(name).decode(), f"{folder.path}/{name}")
    if scenario.pipeline.partition_by == "none" or made.pipeline.partition_by == "none":
        raise InputError(
            f"{folder.path}: days can be added where pipeline.partition_by is `day`; give --overwrite to make it anew"
        )
    if difference := written_otherwise(made, scenario):
        raise InputError(f"{folder.path}: was made with {difference}; give --overwrite to make it anew")
