"""The test of a difference over seeds and sessions, against scipy and by simulation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from experiments.significance import difference_test, paired_p_over_sessions_alone

SEEDS, SESSIONS = 5, 300


def models(
    rng: np.random.Generator,
    *,
    seed_noise: float,
    session_noise: float = 0.1,
    interaction: float = 0.1,
    difference: float = 0.0,
    seeds: tuple[int, int] = (SEEDS, SEEDS),
) -> tuple[np.ndarray, np.ndarray]:
    """Two models' metric `[seeds, sessions]`; noise is in standard deviations."""
    hardness = rng.normal(0.7, 0.3, SESSIONS)  # what the models share of a session
    first, second = (
        hardness
        + rng.normal(0, session_noise, SESSIONS)
        + rng.normal(0, seed_noise, (count, 1))
        + rng.normal(0, interaction, (count, SESSIONS))
        for count in seeds
    )
    return first + difference, second


def rejected(count: int, **noise: Any) -> tuple[float, float]:
    """Shares of simulated pairs of models found different at 5%: by the test, and over sessions alone."""
    rng = np.random.default_rng(1)
    pairs = [models(rng, **noise) for _ in range(count)]
    ours = np.mean([difference_test(*pair).p < 0.05 for pair in pairs])
    return float(ours), float(np.mean([paired_p_over_sessions_alone(*pair) < 0.05 for pair in pairs]))


# 1,500 pairs: the standard error of a rate of 5% is 0.6%
@pytest.mark.parametrize("seed_noise", [0.1, 0.01, 0.003, 0.0], ids=lambda noise: f"seed noise {noise}")
def test_without_a_difference_five_in_a_hundred_are_found(seed_noise: float) -> None:
    ours, sessions_alone = rejected(1500, seed_noise=seed_noise)
    assert 0.03 <= ours <= 0.067
    assert sessions_alone > ours if seed_noise else sessions_alone < 0.067, "only seed noise is to mislead it"


def test_the_plain_test_takes_seed_noise_for_a_difference() -> None:
    assert rejected(200, seed_noise=0.1)[1] > 0.8


def test_without_a_difference_nor_session_effects_it_is_not_lax() -> None:
    assert rejected(1000, seed_noise=0.0, session_noise=0.0, interaction=0.3)[0] <= 0.067


def test_a_difference_is_found() -> None:
    assert rejected(300, seed_noise=0.01, difference=0.05)[0] > 0.95
    assert rejected(300, seed_noise=0.1, difference=0.04)[0] < 0.3, "five seeds cannot tell so little apart"


def test_the_interval_covers_the_difference() -> None:
    rng = np.random.default_rng(2)
    tests = [difference_test(*models(rng, seed_noise=0.02, difference=0.05)) for _ in range(1000)]
    assert 0.93 <= np.mean([test.low <= 0.05 <= test.high for test in tests]) <= 0.97


def test_the_standard_error_is_that_of_repeated_experiments() -> None:
    rng = np.random.default_rng(3)
    noise = {"seed_noise": 0.01, "session_noise": 0.15, "interaction": 0.1}
    tests = [difference_test(*models(rng, **noise, seeds=(5, 3))) for _ in range(2000)]
    expected = 2 * 0.15**2 / SESSIONS + (0.01**2 + 0.1**2 / SESSIONS) * (1 / 5 + 1 / 3)
    assert np.mean([test.standard_error**2 for test in tests]) == pytest.approx(expected, rel=0.04)
    assert np.var([test.difference for test in tests]) == pytest.approx(expected, rel=0.1)


def test_without_seed_noise_it_is_the_paired_test_over_sessions() -> None:
    rng = np.random.default_rng(4)
    first, second = rng.normal(0.71, 0.3, SESSIONS), rng.normal(0.7, 0.3, SESSIONS)
    ours = difference_test(np.tile(first, (3, 1)), np.tile(second, (4, 1)))
    scipys = stats.ttest_rel(first, second)
    assert ours.p == pytest.approx(scipys.pvalue)
    assert ours.degrees_of_freedom == pytest.approx(SESSIONS - 1)
    interval = scipys.confidence_interval(0.95)
    assert (ours.low, ours.high) == pytest.approx((interval.low, interval.high))


def test_with_sessions_that_differ_alike_it_is_welchs_test_of_the_seeds() -> None:
    rng = np.random.default_rng(5)
    sessions = rng.normal(0.7, 0.3, SESSIONS)
    first, second = rng.normal(0.02, 0.01, (6, 1)), rng.normal(0, 0.03, (4, 1))
    ours = difference_test(sessions + first, sessions + second)
    scipys = stats.ttest_ind(first[:, 0], second[:, 0], equal_var=False)
    assert ours.p == pytest.approx(scipys.pvalue)
    assert ours.degrees_of_freedom == pytest.approx(scipys.df)


def test_exchanging_the_models_changes_the_sign_alone() -> None:
    first, second = models(np.random.default_rng(6), seed_noise=0.02, difference=0.02, seeds=(5, 3))
    one, other = difference_test(first, second), difference_test(second, first)
    assert other.p == pytest.approx(one.p)
    assert (other.difference, other.low, other.high) == pytest.approx((-one.difference, -one.high, -one.low))


def test_equal_models_do_not_differ() -> None:
    first, _ = models(np.random.default_rng(7), seed_noise=0.02)
    assert difference_test(first, first).p == 1
    assert paired_p_over_sessions_alone(first, first) == 1
    constant = np.full((2, 3), 0.5)
    assert difference_test(constant, constant).p == 1
    assert difference_test(constant + 0.25, constant).p == 0


def test_the_plain_test_is_scipys() -> None:
    first, second = models(np.random.default_rng(8), seed_noise=0.01)
    expected = stats.ttest_rel(first[0], second[0]).pvalue
    assert paired_p_over_sessions_alone(first[:1], second[:1]) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (np.zeros((1, 9)), np.zeros((5, 9)), r"at least 2 seeds, not the shape \(1, 9\)"),
        (np.zeros(9), np.zeros((5, 9)), "at least 2 seeds"),
        (np.zeros((5, 9)), np.zeros((5, 8)), "the same sessions of both models, at least 2, not 9 and 8"),
        (np.zeros((5, 1)), np.zeros((5, 1)), "at least 2, not 1 and 1"),
        (np.zeros((5, 9)), np.full((5, 9), np.nan), "finite"),
    ],
)
def test_what_cannot_be_tested_is_refused(first: np.ndarray, second: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        difference_test(first, second)
