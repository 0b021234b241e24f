"""The findings of a validation, for people and for programs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from pipeline.config import FeatureThresholds
from pipeline.finding import Finding

_COLUMNS = ("part", "feature", "measure", "old", "new", "value", "threshold")
#: Of these there is a finding only where there is something to tell.
_ALWAYS = ("same_schema", "fewest_sessions")
#: These have a threshold for a single feature.
_OF_A_FEATURE = tuple(FeatureThresholds.model_fields)


@dataclass(frozen=True)
class ValidationReport:
    """Every finding, part by part; those of the schema come first."""

    findings: list[Finding]

    @property
    def above(self) -> list[Finding]:
        """The findings that fail."""
        return [finding for finding in self.findings if finding.above]

    @property
    def notable(self) -> list[Finding]:
        """Those that fail, then those that come half as far, and what could not be compared."""
        rest = [finding for finding in self.findings if not finding.above]
        return [*self.above, *(f for f in rest if f.measure in _ALWAYS or 0 < f.threshold / 2 <= f.value)]

    def summary(self) -> str:
        """One line: how many findings fail, and what to do about the first of them."""
        if not self.above:
            return f"{len(self.findings):,} measures, all within their thresholds"
        first = self.above[0]
        key = f"features.{first.feature}.{first.measure}" if first.measure in _OF_A_FEATURE else first.measure
        value = "false" if first.measure == "same_schema" else "NUMBER"
        how_many = "1 measure is above its" if len(self.above) == 1 else f"{len(self.above):,} measures are above their"
        return (
            f"{how_many} threshold, of {len(self.findings):,}; look for the cause in the new log, or let a change "
            f"that is meant pass: --set validation.{key}={value}"
        )

    def as_dict(self, everything: bool = False) -> dict[str, Any]:
        """The findings as JSON has them: what is notable, or everything."""
        findings = self.findings if everything else self.notable
        return {"ok": not self.above, "findings": [asdict(finding) for finding in findings]}

    def table(self, everything: bool = False) -> Table:
        """The findings for a terminal: what is notable, or everything."""
        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        for name in _COLUMNS:
            table.add_column(
                name, justify="right" if name in _COLUMNS[3:] else "left", no_wrap=name not in _COLUMNS[3:5]
            )
        table.add_column("")
        for finding in self.findings if everything else self.notable:
            # as Text: a value may look like markup
            cells = (Text(_cell(getattr(finding, name))) for name in _COLUMNS)
            table.add_row(*cells, Text(finding.detail), style="bold red" if finding.above else None)
        return table


def _cell(value: float | str) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
