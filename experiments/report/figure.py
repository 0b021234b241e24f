"""A figure of the report: drawn with matplotlib, put into the page as SVG whose colours follow the page's."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from experiments.report.palette import INK, MUTED, PALETTE, RULE

#: Units of the SVG: a phone shows it at about 0.85 of that, so that 11 units of text stay legible.
WIDTH = 420
_POINTS_PER_INCH = 72
#: For measuring only: wider than the fonts that a page is shown in.
_FONT = "DejaVu Sans"
#: Beginning of the ids of what carries no data: an emptied figure still has them.
REFERENCE = "reference"
PLOT_AREA = "plot-area"
_STYLE: Any = {
    "svg.fonttype": "none",  # text stays text: the page's font and colour, found by a search, read aloud
    "svg.hashsalt": "report",
    "text.parse_math": False,  # a `$` in an item's id is a `$`
    "font.size": 11.5,
    "font.family": _FONT,
    "axes.titlesize": 12,
    "axes.titlelocation": "left",
    "axes.labelsize": 11.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": MUTED.light,
    "axes.labelcolor": INK.light,
    "axes.titlecolor": INK.light,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "grid.color": RULE.light,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED.light,
    "ytick.color": MUTED.light,
    "xtick.labelcolor": INK.light,
    "ytick.labelcolor": INK.light,
    "xtick.labelsize": 11,
    "ytick.labelsize": 11,
    "text.color": INK.light,
    "legend.frameon": False,
    "legend.fontsize": 11,
    "legend.handlelength": 1.4,
    "legend.columnspacing": 1.2,
    "lines.linewidth": 1.8,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.h_pad": 0.06,
    "figure.constrained_layout.w_pad": 0.04,
}


@dataclass(frozen=True)
class Drawing:
    """A figure with its words.

    Attributes:
        name: its id on the page is `figure-<name>`.
        title: what it shows.
        caption: one line: what to read from it.
        description: what one sees, for those who cannot.
        svg: the drawing; empty where there is nothing to draw, and then
        instead: says why.
        paper: what the paper's counterpart shows, where it has one.
    """

    name: str
    title: str
    caption: str
    description: str = ""
    svg: str = ""
    instead: str = ""
    paper: str = ""


def draw(name: str, height: float, paint: Callable[[Figure], None]) -> str:
    """The SVG of what `paint` draws into a fresh figure, to be put into an HTML page.

    Its text is the page's, its colours are the CSS variables of `PALETTE`, its background is
    the page's own, and it names nothing outside the page.

    Args:
        name: makes its ids differ from those of the page's other figures.
        height: in units of which the figure is `WIDTH` wide.
    """
    buffer = io.StringIO()
    # Not pyplot, which keeps figures and chooses a backend. Glyphs missing here are the browser's to find.
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure = Figure(figsize=(WIDTH / _POINTS_PER_INCH, height / _POINTS_PER_INCH))
        paint(figure)
        for index, axes in enumerate(figure.axes):
            axes.patch.set_gid(f"{PLOT_AREA}-{index}")
        FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None})
    return _inline(buffer.getvalue(), name)


def reference_line(axes: Axes, *, x: float | None = None, y: float | None = None) -> None:
    """A thin line at `x` or `y` that data are compared with."""
    line = axes.axhline(y or 0) if x is None else axes.axvline(x)
    line.set(color=MUTED.light, linewidth=1)
    axes_of_figure = axes.get_figure(root=True).axes  # type: ignore[union-attr]
    line.set_gid(f"{REFERENCE}-{axes_of_figure.index(axes)}-{len(axes.lines)}")


def _inline(svg: str, name: str) -> str:
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" aria-hidden="true" focusable="false">', svg)
    # Inside tags only: what a text says is left as it is.
    return re.sub(r"<[a-z][^>]*>", lambda tag: _inline_tag(tag[0], name), svg)


def _inline_tag(tag: str, name: str) -> str:
    # Namespaces are known to a page's parser; without them the page names no address at all.
    tag = re.sub(r' xmlns(:\w+)?="[^"]*"', "", tag).replace("xlink:href", "href")
    tag = re.sub(r'\bid="', f'id="{name}-', tag)
    tag = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", tag)
    tag = tag.replace(f"font-family: '{_FONT}'; ", "")
    for colour in PALETTE:
        tag = tag.replace(f": {colour.light}", f": var({colour.variable})")
    return tag
