"""The colours of a report, by role, for light and for dark pages."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Colour:
    """One role: the CSS variable that holds it, and its value on a light and on a dark page.

    `light` is also what matplotlib draws with, so within a palette every one is another.
    """

    variable: str
    light: str
    dark: str


INK = Colour("--ink", "#1b2026", "#e8eaed")
MUTED = Colour("--muted", "#59626c", "#a4adb7")
RULE = Colour("--rule", "#d9dee4", "#363d46")
SURFACE = Colour("--surface", "#ffffff", "#15181c")

#: Of what is compared in one figure: told apart by the colour-blind too, 3:1 or more against the page.
SERIES = (
    Colour("--series-1", "#0067a8", "#5ab5f2"),
    Colour("--series-2", "#c8500a", "#ff9152"),
    Colour("--series-3", "#00785a", "#3ecf9f"),
    Colour("--series-4", "#ab4f89", "#e79bc9"),
    Colour("--series-5", "#8a6c00", "#d9b93a"),
    Colour("--series-6", "#2a8ec0", "#9ad9fa"),
    Colour("--series-7", "#6f4bc4", "#b7a1ff"),
    Colour("--series-8", "#616b77", "#aab4bf"),
)

PALETTE = (INK, MUTED, RULE, SURFACE, *SERIES)


def series(index: int) -> str:
    """What matplotlib draws the series with that number with; after eight they begin again."""
    return SERIES[index % len(SERIES)].light
