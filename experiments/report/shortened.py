"""Names that a figure has room for."""

from __future__ import annotations


def shortened(name: str, most: int) -> str:
    """The name, cut to so many characters."""
    return name if len(name) <= most else f"{name[: most - 1]}…"
