"""Looks at a report's page in a headless Chromium: is there ink in every figure, and can it be read."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from experiments.report.figure import PLOT_AREA, REFERENCE

#: Pixels of data that the plot area of every axes must have: two small markers have as many.
FEWEST_PIXELS = 40
#: Of text against the page, as WCAG asks.
LEAST_CONTRAST = 4.5
#: Of a figure's text on the screen, in pixels.
SMALLEST_TEXT = 8.5
#: Spines run along the plot area's edge.
_MARGIN = 4
_COLOUR_STEP = 24
_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
#: What an emptied figure still has: axes, labels, legends and lines to compare with.
_HIDE = f"""
.plot svg [id*="matplotlib.axis"], .plot svg [id*="legend_"], .plot svg [id*="-{REFERENCE}-"], .plot svg text
{{ visibility: hidden !important; }}
"""
_AREAS = f"""figure => [...figure.querySelectorAll('svg [id*="-{PLOT_AREA}-"]')].map(area => {{
    const svg = area.ownerSVGElement.getBoundingClientRect(), box = area.getBoundingClientRect();
    return [box.left - svg.left, box.top - svg.top, box.width, box.height];
}})"""
_OUTSIDE = """() => [...document.querySelectorAll('body *')]
    .filter(e => !e.closest('.scroll') || e.classList.contains('scroll'))
    .filter(e => { const box = e.getBoundingClientRect(); return box.width && box.right > innerWidth + 1; })
    .map(e => e.tagName + ' ' + (e.id || e.className.baseVal || e.className || ''))"""
_TEXTS = """figure => [...figure.querySelectorAll('svg text')].map(text => {
    const box = text.getBoundingClientRect(), svg = text.ownerSVGElement, style = getComputedStyle(text);
    const scale = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
    return {text: text.textContent, fill: style.fill, size: parseFloat(style.fontSize) * scale,
            box: [box.left, box.top, box.right, box.bottom], outside: box.right > svg.getBoundingClientRect().right + 2
                || box.left < svg.getBoundingClientRect().left - 2};
})"""


def chromium() -> str | None:
    """The browser's path; None where there is none. `CHROMIUM` names another than those on the path."""
    named = os.environ.get("CHROMIUM")
    return named or next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@contextmanager
def browser() -> Iterator[Browser]:
    """A headless Chromium."""
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium(), args=list(_ARGUMENTS))
        try:
            yield started
        finally:
            started.close()


def problems(
    started: Browser, path: Path, *, width: int, scheme: Any, doctor: Callable[[Page], None] | None = None
) -> list[str]:
    """What is wrong with the page at that width, on a `light` or `dark` screen: a line each.

    Args:
        doctor: changes the page before it is looked at.
    """
    context = started.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    try:
        page = context.new_page()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(path.as_uri())
        if doctor:
            doctor(page)
        found = _overflow(page) + _unreadable(page)
        page.add_style_tag(content=_HIDE)
        found += _empty(page)
        return found + [f"loads {url}" for url in asked if not url.startswith(("file:", "data:"))]
    finally:
        context.close()


def _overflow(page: Page) -> list[str]:
    wide, screen = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    found = [f"the page scrolls sideways: {wide} px on a screen of {screen}"] if wide > screen else []
    return found + [f"{element} reaches beyond the screen" for element in page.evaluate(_OUTSIDE)[:5]]


def _unreadable(page: Page) -> list[str]:
    background = _rgb(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    found = []
    for figure in page.query_selector_all("figure:not([data-empty])"):
        name, texts = figure.get_attribute("id"), figure.evaluate(_TEXTS)
        if not texts:
            found.append(f"{name} has no text")
        for text in texts:
            if (contrast := _contrast(_rgb(text["fill"]), background)) < LEAST_CONTRAST:
                found.append(f"{name}: `{text['text']}` has contrast {contrast:.1f}")
            if text["size"] < SMALLEST_TEXT:
                found.append(f"{name}: `{text['text']}` is {text['size']:.1f} px high")
            if text["outside"]:
                found.append(f"{name}: `{text['text']}` reaches beyond the figure")
        for index, one in enumerate(texts):
            for other in texts[index + 1 :]:
                if _overlap(one["box"], other["box"]):
                    found.append(f"{name}: `{one['text']}` lies over `{other['text']}`")
    return found


def _empty(page: Page) -> list[str]:
    background = np.array(_rgb(page.evaluate("getComputedStyle(document.body).backgroundColor")))
    found = []
    for figure in page.query_selector_all("figure:not([data-empty])"):
        name, svg = figure.get_attribute("id"), figure.query_selector("svg")
        if svg is None:
            found.append(f"{name} has no drawing")
            continue
        image = np.asarray(Image.open(io.BytesIO(svg.screenshot())).convert("RGB")).astype(int)
        inked = (np.abs(image - background) > _COLOUR_STEP).any(axis=-1)
        areas = figure.evaluate(_AREAS)
        if not areas:
            found.append(f"{name} has no plot area")
        for left, top, width, height in areas:
            rows = slice(int(top) + _MARGIN, int(top + height) - _MARGIN)
            columns = slice(int(left) + _MARGIN, int(left + width) - _MARGIN)
            if (pixels := int(inked[rows, columns].sum())) < FEWEST_PIXELS:
                found.append(f"{name} is empty: {pixels} pixels of data in a plot area")
    return found


def _overlap(a: list[float], b: list[float]) -> bool:
    """Whether two boxes share more than their rims: a box is higher than its letters."""
    return min(a[2], b[2]) - max(a[0], b[0]) > 2 and min(a[3], b[3]) - max(a[1], b[1]) > 4


def _rgb(colour: str) -> tuple[int, int, int]:
    numbers = colour[colour.index("(") + 1 : colour.index(")")].split(",")
    red, green, blue = (int(float(number)) for number in numbers[:3])
    return red, green, blue


def _contrast(a: tuple[int, int, int], b: tuple[int, int, int]) -> float:
    """The ratio of WCAG 2: 1 none, 21 black on white."""
    light, dark = sorted((_luminance(a), _luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: tuple[int, int, int]) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (value / 255 for value in colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
