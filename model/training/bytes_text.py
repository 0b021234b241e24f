"""Amounts of bytes for people."""

from __future__ import annotations


def bytes_text(amount: int) -> str:
    """Such as `640.0 MB`, in powers of 1000."""
    value, unit = float(amount), "bytes"
    for larger in ("kB", "MB", "GB", "TB", "PB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{amount:,} bytes" if unit == "bytes" else f"{value:,.1f} {unit}"
