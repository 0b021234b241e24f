"""Whether two models differ, when sessions and seeds are both drawn by chance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

#: Of the interval.
CONFIDENCE = 0.95


@dataclass(frozen=True)
class DifferenceTest:
    """A difference of two models' means, with what it rests on.

    Attributes:
        difference: mean of the first model less mean of the second.
        low: lower end of the 95% interval.
        high: its upper end.
        p: two-sided, of the hypothesis that there is no difference.
        standard_error: of the difference, over other sessions and other seeds.
        degrees_of_freedom: of the t distribution.
    """

    difference: float
    low: float
    high: float
    p: float
    standard_error: float
    degrees_of_freedom: float


def difference_test(first: np.ndarray, second: np.ndarray) -> DifferenceTest:
    """Tests the difference of two models that were each trained with several seeds.

    What would another set of sessions, and another set of seeds, have given? A metric is taken
    as the sum of effects that are drawn independently:

        y_msi = mu_m + t_mi + u_ms + e_msi      model m, its seed s = 1..S_m, session i = 1..n

    Sessions are the same for both models, their effects `t_mi` are paired; the seeds `u_ms` of
    the two models have nothing to do with each other; `e_msi` is what a seed does to one
    session. For `D = mean(first) - mean(second)` that gives

        Var(D) = Var_i(t_1i - t_2i) / n + sum_m Var(u_m) / S_m + sum_m Var(e_m) / (S_m n)

    and it is estimated by mean squares, where `.` is a mean over an index:

        V_t  = variance over i of (y_1.i - y_2.i) / n              n - 1 degrees of freedom
        V_um = variance over s of y_ms. / S_m                      S_m - 1
        V_em = variance of (y_ms i - y_ms. - y_m.i + y_m..) / (S_m n)   (S_m - 1)(n - 1)

        Var(D) = V_t + sum_m V_um - sum_m V_em

    The first two both hold the term of `e`, which therefore comes off once. As a difference of
    estimates can be too small by chance, it is never taken below `V_t` or `sum_m V_um` alone.
    Degrees of freedom are Satterthwaite's: `Var(D)^2 / sum(V^2 / df)`.

    Without seed noise this is the paired t-test over sessions, and where sessions differ by the
    same amount in all it is Welch's t-test of the models' seeds. Sessions count as independent,
    although some are of one user. Models trained with the same seed number are taken to be
    unrelated; where they are alike, for instance through the order of batches, p is too large
    rather than too small.

    Args:
        first: a session metric `[S_1, n]`, seeds by sessions; all finite.
        second: likewise `[S_2, n]`, of the same sessions in the same order.

    Raises:
        ValueError: fewer than two seeds or two sessions, other sessions, or a value that is not finite.

    References: Satterthwaite, An approximate distribution of estimates of variance components,
    Biometrics 1946; Owen, The pigeonhole bootstrap, Annals of Applied Statistics 2007.
    """
    _check(first, second)
    sessions = first.shape[1]
    difference = float(first.mean() - second.mean())
    between_sessions = float((first.mean(axis=0) - second.mean(axis=0)).var(ddof=1)) / sessions
    between_seeds = [float(model.mean(axis=1).var(ddof=1)) / len(model) for model in (first, second)]
    within = [_interaction(model) / (len(model) * sessions) for model in (first, second)]

    seed_freedom = [len(model) - 1 for model in (first, second)]
    seeds_alone = sum(between_seeds)
    variance = between_sessions + seeds_alone - sum(within)
    terms = [between_sessions, *between_seeds, *within]
    freedoms = [sessions - 1, *seed_freedom, *(freedom * (sessions - 1) for freedom in seed_freedom)]
    if variance < max(between_sessions, seeds_alone):
        if between_sessions >= seeds_alone:
            variance, terms, freedoms = between_sessions, [between_sessions], [sessions - 1]
        else:
            variance, terms, freedoms = seeds_alone, between_seeds, seed_freedom
    squares = sum(term**2 / freedom for term, freedom in zip(terms, freedoms, strict=True))
    freedom = variance**2 / squares if squares else float(sessions - 1)
    error = variance**0.5
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom)) * error
    return DifferenceTest(
        difference, difference - half, difference + half, _p(difference, error, freedom), error, freedom
    )


def paired_p_over_sessions_alone(first: np.ndarray, second: np.ndarray) -> float:
    """The paper's p-value: a paired t-test over sessions, blind to the seeds. No evidence by itself.

    It answers whether these very trained models differ on other sessions, not whether the
    methods do when trained again: two seeds of one model differ by it.

    Args:
        first: a session metric `[S_1, n]`; several seeds are averaged in each session.
        second: likewise `[S_2, n]`, of the same sessions.
    """
    differences = first.mean(axis=0) - second.mean(axis=0)
    error = float(differences.std(ddof=1)) / len(differences) ** 0.5
    return _p(float(differences.mean()), error, len(differences) - 1)


def _interaction(model: np.ndarray) -> float:
    """Mean square of what is left after seeds and sessions, `(S - 1)(n - 1)` degrees of freedom."""
    left = model - model.mean(axis=1, keepdims=True) - model.mean(axis=0, keepdims=True) + model.mean()
    return float(np.square(left).sum()) / ((model.shape[0] - 1) * (model.shape[1] - 1))


def _p(difference: float, error: float, freedom: float) -> float:
    if not error:
        return 1.0 if difference == 0 else 0.0
    return float(2 * stats.t.sf(abs(difference) / error, freedom))


def _check(first: np.ndarray, second: np.ndarray) -> None:
    for model in (first, second):
        if model.ndim != 2 or len(model) < 2:
            raise ValueError(f"the test needs [seeds, sessions] with at least 2 seeds, not the shape {model.shape}")
    if first.shape[1] != second.shape[1] or first.shape[1] < 2:
        raise ValueError(
            f"the test needs the same sessions of both models, at least 2, not {first.shape[1]} and {second.shape[1]}"
        )
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise ValueError("the test needs finite values: leave out sessions where the metric is not defined")
