"""Numbers of a comparison as text, the same on a terminal and on the page; empty where a number is not known."""

from __future__ import annotations

from experiments.comparison import Summary


def mean_and_spread(summary: Summary, digits: int = 4) -> str:
    """For instance `0.7123 ±0.0020`."""
    if summary.mean is None:
        return ""
    return f"{summary.mean:,.{digits}f} {spread(summary, digits)}".rstrip()


def spread(summary: Summary, digits: int = 4) -> str:
    """The standard deviation over seeds, for instance `±0.0020`."""
    return "" if summary.std is None else f"±{summary.std:,.{digits}f}"


def signed(value: float) -> str:
    """A difference, for instance `+0.0123`."""
    return f"{value:+.4f}".replace("-", "\N{MINUS SIGN}")


def interval(low: float | None, high: float | None) -> str:
    """For instance `+0.0010 to +0.0210`."""
    return "" if low is None or high is None else f"{signed(low)} to {signed(high)}"


def p_value(p: float | None) -> str:
    """As many digits as tell something."""
    if p is None:
        return ""
    return "< 0.001" if p < 0.001 else f"{p:.2f}" if p >= 0.1 else f"{p:.3f}"
