"""One comparison of two sets of prepared data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """What one measure says about one feature of one part.

    Attributes:
        part: empty for what is of the whole data, its schema.
        feature: the record column; empty for what is of a whole part, its sessions.
        measure: the name of the threshold in the section `validation`; of a drift, `drift`.
        old, new: what is compared, to be read by people; see docs/validation.md.
        value: of the measure.
        threshold: what `value` was held against.
        above: whether `value` is beyond what the threshold allows.
        detail: for people, which values it is about.
    """

    part: str
    feature: str
    measure: str
    old: float | str
    new: float | str
    value: float
    threshold: float
    above: bool
    detail: str = ""
