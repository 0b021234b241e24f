"""The findings of a validation, for people and for programs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from pipeline.config import FeatureThresholds
from pipeline.validation.finding import Finding

_NUMBERS = ("old", "new", "value", "threshold")
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
        """Those that fail or come half as far, and what could not be compared."""
        return [f for f in self.findings if f.above or f.measure in _ALWAYS or 0 < f.threshold / 2 <= f.value]

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
        """The findings for a terminal: what is notable, or everything; `!` marks those that fail."""
        findings = self.findings if everything else self.notable
        table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
        for name in ("", "feature", "measure"):
            table.add_column(name, no_wrap=True)
        for name in _NUMBERS:
            table.add_column(name.replace("threshold", "limit"), justify="right", no_wrap=True)
        table.add_column("", overflow="fold", min_width=8)
        for part in dict.fromkeys(finding.part for finding in findings):
            table.add_row("", Text(part or "schema", style="bold"))
            # as Text: a value may look like markup
            for finding in sorted((f for f in findings if f.part == part), key=lambda f: not f.above):
                numbers = (_cell(getattr(finding, name)) for name in _NUMBERS)
                cells = ("!" if finding.above else "", finding.feature, finding.measure, *numbers, finding.detail)
                table.add_row(*map(Text, cells), style="red" if finding.above else None)
            table.add_section()
        return table


def _cell(value: float | str) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if isinstance(value, int) or value >= 1000 else f"{value:.3g}"
