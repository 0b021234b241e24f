"""Numbers as tables and the page show them, and one number a seed to mean and spread."""

from __future__ import annotations

import pytest

from experiments.comparison import Summary
from experiments.metric_titles import METRIC_TITLES
from experiments.number_text import interval, mean_and_spread, p_value, signed
from experiments.over_seeds import over_seeds
from model.session_metrics import SESSION_METRICS


def test_numbers_as_text() -> None:
    assert mean_and_spread(Summary(0.71234, 0.002)) == "0.7123 ±0.0020"
    assert mean_and_spread(Summary(1234.4, 61.6), 0) == "1,234 ±62"
    assert (mean_and_spread(Summary(0.5)), mean_and_spread(Summary(None))) == ("0.5000", "")
    assert (signed(0.01), signed(-0.01)) == ("+0.0100", "\N{MINUS SIGN}0.0100")
    assert (interval(-0.001, 0.021), interval(None, None)) == ("\N{MINUS SIGN}0.0010 to +0.0210", "")


@pytest.mark.parametrize(
    ("p", "text"),
    [(None, ""), (0.0, "< 0.001"), (0.00099, "< 0.001"), (0.0123, "0.012"), (0.0996, "0.100"), (1, "1.00")],
)
def test_p_values_as_text(p: float | None, text: str) -> None:
    assert p_value(p) == text


def test_a_mean_over_seeds_needs_them_all() -> None:
    assert over_seeds([1.0, 3.0]) == Summary(2.0, 2**0.5)
    assert over_seeds([1.0]) == Summary(1.0)
    assert over_seeds([1.0, None]) == over_seeds([]) == Summary(None)


def test_every_metric_has_a_title() -> None:
    assert tuple(METRIC_TITLES) == SESSION_METRICS
