"""What turns raw values into ids and normalised numbers: vocabularies and statistics.

The pipeline writes them from the training part only; the model's preprocessing reads
them; the export carries them inside the SavedModel. On disk:

    vocabularies/<table>.txt   one value a line, the most frequent first
    statistics.json            {"numeric": {<statistic>: {mean, std, boundaries}}}
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.errors import InputError
from pipeline.features import Features, Numeric

VOCABULARIES = "vocabularies"
STATISTICS = "statistics.json"


@dataclass(frozen=True)
class NumericStatistics:
    """Of one number in the training part, after log(1 + x) where declared.

    `boundaries` are the inner quantiles of a bucketised number: `buckets - 1` rising values.
    """

    mean: float
    std: float
    boundaries: tuple[float, ...] = ()


@dataclass(frozen=True)
class EncodingAssets:
    """Vocabulary file of each table with a vocabulary, statistics of each number."""

    directory: Path
    vocabularies: dict[str, Path]
    numeric: dict[str, NumericStatistics]

    @classmethod
    def load(cls, directory: str | Path, features: Features) -> EncodingAssets:
        """Reads what `features` needs.

        Raises:
            InputError: a file or a key is missing: the directory belongs to other features.
        """
        directory = Path(directory)
        try:
            raw = json.loads((directory / STATISTICS).read_text(encoding="utf-8"))["numeric"]
        except FileNotFoundError:
            raise InputError(f"{directory / STATISTICS}: not there; run `awmoe preprocess` first") from None
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{directory / STATISTICS}: is damaged ({error}); preprocess again") from None
        vocabularies, numeric = {}, {}
        for name, table in features.tables.items():
            if table.hash_buckets is None:
                path = directory / VOCABULARIES / f"{name}.txt"
                if not path.exists():
                    raise InputError(f"{path}: not there; preprocess again with this scenario's features")
                vocabularies[name] = path
        for feature in features.encoded:
            if isinstance(feature.declaration, Numeric):
                if feature.statistic not in raw:
                    raise InputError(
                        f"{directory / STATISTICS}: has no `{feature.statistic}`; "
                        "preprocess again with this scenario's features"
                    )
                values = raw[feature.statistic]
                numeric[feature.statistic] = NumericStatistics(
                    values["mean"], values["std"], tuple(values["boundaries"])
                )
        return cls(directory, vocabularies, numeric)

    def vocabulary(self, table: str) -> list[str]:
        """The table's values, the most frequent first; empty for a hashed table."""
        if table not in self.vocabularies:
            return []
        return self.vocabularies[table].read_text(encoding="utf-8").split("\n")[:-1]

    def copy_to(self, directory: str | Path) -> None:
        """Writes the same assets under another directory, so that it stands alone."""
        target = Path(directory)
        (target / VOCABULARIES).mkdir(parents=True, exist_ok=True)
        for path in self.vocabularies.values():
            shutil.copyfile(path, target / VOCABULARIES / path.name)
        (target / STATISTICS).write_text(dump_statistics(self.numeric), encoding="utf-8")


def dump_statistics(numeric: dict[str, NumericStatistics]) -> str:
    """The text of `statistics.json`."""
    return json.dumps({"numeric": {name: asdict(s) for name, s in sorted(numeric.items())}}, indent=2) + "\n"
