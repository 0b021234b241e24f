"""The pipeline's output directory, as its readers see it.

manifest.json              written last: a directory without it is not complete
scenario.yaml              the scenario that made it
train|validation|test|new_items/*.tfrecord.gz    one tf.Example a session
vocabularies/, statistics.json, schema.pbtxt
data_statistics.pbtxt     of every part, for `awmoe validate`
serving/items.parquet, as_of_<entity>.parquet, co_purchases.parquet
rejects/<table>.jsonl     what was left out, with its reason
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pipeline.config import Scenario, load_scenario
from pipeline.encoding_assets import EncodingAssets
from pipeline.errors import InputError
from pipeline.features import Features

MANIFEST = "manifest.json"
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
            manifest = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
        except FileNotFoundError:
            what = "its preprocessing did not finish (no manifest)" if directory.exists() else "no such directory"
            raise InputError(f"{directory}: {what}; run `awmoe preprocess --output {directory}`") from None
        except ValueError as error:
            raise InputError(f"{directory / MANIFEST}: is damaged ({error}); preprocess again") from None
        if not isinstance(manifest, dict) or not set(PARTS) <= set(manifest.get("parts", ())):
            raise InputError(f"{directory / MANIFEST}: does not list its parts; preprocess again")
        return cls(directory, manifest)

    def check_features(self, scenario: Scenario) -> None:
        """Checks that the data was made with the scenario's features and label.

        What only the model reads may differ: cross features, and the tables' dimensions.

        Raises:
            InputError: something else differs; names the first key.
        """
        path = self.directory / SCENARIO
        made, wanted = (_written(s) for s in (load_scenario(path), scenario))
        for key in sorted(made.keys() | wanted.keys()):
            if made.get(key) != wanted.get(key):
                raise InputError(
                    f"{self.directory}: was made with `{key}: {made.get(key)}` and the scenario says "
                    f"`{wanted.get(key)}`; preprocess again, or use the scenario that made it ({path})"
                )

    def files(self, part: Part) -> list[str]:
        """The TFRecord files of a part, sorted; each is checked to be there.

        Raises:
            InputError: a file that the manifest names is gone.
        """
        paths = [self.directory / name for name in self.manifest["parts"][part]["files"]]
        for path in paths:
            if not path.exists():
                raise InputError(f"{path}: named by {MANIFEST} and not there; preprocess again")
        return [str(path) for path in paths]

    def sessions(self, part: Part) -> int:
        """How many records the part has."""
        return int(self.manifest["parts"][part]["sessions"])

    def assets(self, features: Features) -> EncodingAssets:
        """Vocabularies and statistics."""
        return EncodingAssets.load(self.directory, features)


def _written(scenario: Scenario) -> dict[str, Any]:
    """What the pipeline wrote its data by, as `key.path` to value."""
    keys = {"pipeline.label": scenario.pipeline.label, **_flat("features", scenario.features.model_dump())}
    return {k: v for k, v in keys.items() if not k.startswith("features.cross.") and not k.endswith(".dimension")}


def _flat(key: str, node: Any) -> dict[str, Any]:
    if not isinstance(node, dict):
        return {key: node}
    return {path: value for name, child in node.items() for path, value in _flat(f"{key}.{name}", child).items()}
