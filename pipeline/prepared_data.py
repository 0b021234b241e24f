"""The pipeline's output directory, as its readers see it.

manifest.json              written last: says which files are the data; a directory without it is not complete
revision-00001-<id>/       what one run of the job wrote; a run that adds days makes another
  train|validation|test|new_items/<day>/*.tfrecord.gz    one tf.Example a session; day is `all` if not partitioned
  counts/<part>/<day>.parquet     how often each value of each column occurs
  scenario.yaml            the scenario of that run
  vocabularies/, statistics.json, schema.pbtxt, data_statistics.pb     of all days that the manifest names
  serving/items.parquet, as_of_<entity>.parquet, co_purchases.parquet    as of the end of that run's log
  rejects/<table>-*.jsonl  what was left out, with its reason
  times.json               what the job found: where the parts begin, where the log ends
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pipeline.config import Scenario
from pipeline.days import NO_DAY, DateRange, day_name
from pipeline.encoding_assets import STATISTICS, VOCABULARIES, EncodingAssets
from pipeline.errors import InputError
from pipeline.features import Features
from pipeline.scenario_file import load_scenario
from pipeline.setting_difference import setting_difference

MANIFEST = "manifest.json"
#: Of the manifest; a directory of another one is not read.
FORMAT = 2
SCENARIO = "scenario.yaml"
SERVING = "serving"
SCHEMA = "schema.pbtxt"
#: `new_items`: test sessions whose bought item had no earlier event, reported apart.
Part = Literal["train", "validation", "test", "new_items"]
PARTS: tuple[Part, ...] = ("train", "validation", "test", "new_items")


@dataclass(frozen=True)
class PreparedData:
    """An opened, complete output directory of `awmoe preprocess`."""

    directory: Path
    manifest: dict[str, Any]

    @classmethod
    def open(cls, directory: str | Path) -> PreparedData:
        """Opens a complete directory.

        Raises:
            InputError: it is missing, or its job did not finish (no manifest).
        """
        directory = Path(directory)
        try:
            text = (directory / MANIFEST).read_text(encoding="utf-8")
        except FileNotFoundError:
            found = sorted(path.name for path in directory.iterdir()) if directory.is_dir() else []
            if found and not any(name.startswith("revision-") for name in found):
                raise InputError(
                    f"{directory}: holds no prepared data (there is {found[0]}); name an output of `awmoe preprocess`, "
                    "which takes a raw log as its --input"
                ) from None
            what = "its preprocessing did not finish (no manifest)" if directory.exists() else "no such directory"
            raise InputError(f"{directory}: {what}; run `awmoe preprocess --output {directory}`") from None
        except ValueError as error:
            raise InputError(f"{directory / MANIFEST}: is damaged ({error}); preprocess again") from None
        return cls(directory, parse_manifest(text, str(directory / MANIFEST)))

    @property
    def latest(self) -> Path:
        """What the last run wrote: scenario, vocabularies, statistics, schema."""
        return self.directory / str(self.manifest["latest"])

    @property
    def scenario_path(self) -> Path:
        """The scenario of the last run."""
        return self.latest / SCENARIO

    @property
    def serving(self) -> Path:
        """The serving tables, of the run whose log went furthest."""
        return self.directory / str(self.manifest["serving"]) / SERVING

    def check_features(self, scenario: Scenario) -> None:
        """Checks that the data was made with the scenario's features and label.

        What only the model reads may differ: cross features, and the tables' dimensions.

        Raises:
            InputError: something else differs; names the first key.
        """
        if difference := written_otherwise(load_scenario(self.scenario_path), scenario):
            raise InputError(
                f"{self.directory}: was made with {difference}; preprocess again, or use the scenario that made it "
                f"({self.scenario_path})"
            )

    def files(self, part: Part) -> list[str]:
        """The TFRecord files of a part, by day; each is checked to be there.

        Raises:
            InputError: a file that the manifest names is gone.
        """
        paths = [
            self.directory / name for day in self.manifest["parts"][part]["days"].values() for name in day["files"]
        ]
        for path in paths:
            if not path.exists():
                raise InputError(f"{path}: named by {MANIFEST} and not there; preprocess again")
        return [str(path) for path in paths]

    def with_training_days(self, days: DateRange) -> PreparedData:
        """The same data with a training part of these days alone; vocabularies and statistics stay those of all.

        Raises:
            InputError: it has no such day.
        """
        part = self.manifest["parts"]["train"]
        kept = {day: entry for day, entry in part["days"].items() if day in days}
        if not kept:
            there = sorted(part["days"])
            has = f"it has {there[0]} to {there[-1]}" if there else "it has none"
            if there == [day_name(NO_DAY)]:
                has = "it is not partitioned by day (pipeline.partition_by)"
            held_out: tuple[Part, ...] = ("validation", "test")
            others = [name for name in held_out if any(day in days for day in self.days(name))]
            if others:
                has += (
                    f"; days in that range are in its {' and '.join(others)} part: preprocess them again with a later "
                    "pipeline.split.test_start"
                )
            raise InputError(f"{self.directory}: has no training day in {days}; {has}")
        totals = {name: sum(entry[name] for entry in kept.values()) for name in ("sessions", "candidates", "positives")}
        train = {**totals, "days": kept}
        return replace(self, manifest={**self.manifest, "parts": {**self.manifest["parts"], "train": train}})

    def days(self, part: Part) -> list[str]:
        """The part's days with records, in order; `all` where it is not partitioned by day."""
        return sorted(day for day, entry in self.manifest["parts"][part]["days"].items() if entry.get("sessions") != 0)

    def sessions(self, part: Part) -> int:
        """How many records the part has."""
        return int(self.manifest["parts"][part]["sessions"])

    def fingerprint(self) -> str:
        """Tells data from other data, by the sessions of each part and day, vocabularies and statistics.

        The same log prepared once more, by the same settings, has the same one.
        """
        sizes = [
            [name, part["sessions"], day, of_day.get("sessions"), of_day.get("candidates"), of_day.get("positives")]
            for name, part in sorted(self.manifest["parts"].items())
            for day, of_day in sorted(part["days"].items())
        ]
        digest = hashlib.sha256(json.dumps(sizes).encode())
        for path in [self.latest / STATISTICS, *sorted((self.latest / VOCABULARIES).iterdir())]:
            digest.update(path.name.encode())
            digest.update(path.read_bytes())
        return digest.hexdigest()[:16]

    def assets(self, features: Features) -> EncodingAssets:
        """Vocabularies and statistics."""
        return EncodingAssets.load(self.latest, features)


def parse_manifest(text: str | bytes, origin: str) -> dict[str, Any]:
    """The manifest of that text; `origin` names it in errors.

    Raises:
        InputError: it is no manifest, or of an output that another version of this package wrote.
    """
    try:
        manifest = json.loads(text)
    except ValueError as error:
        raise InputError(f"{origin}: is damaged ({error}); preprocess again, into another directory") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise InputError(f"{origin}: is not of format {FORMAT}; preprocess again, into another directory")
    if not set(PARTS) <= set(manifest.get("parts", ())):
        raise InputError(f"{origin}: does not list its parts; preprocess again")
    return manifest


def written_otherwise(made: Scenario, wanted: Scenario) -> str:
    """The first key of the features or the label in which two scenarios' records differ; empty where none does."""
    old, new = (
        {"pipeline": {"label": scenario.pipeline.label}, "features": scenario.features.model_dump()}
        for scenario in (made, wanted)
    )
    return setting_difference(
        old, new, lambda key: not key.startswith("features.cross.") and not key.endswith(".dimension")
    )
