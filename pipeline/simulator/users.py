"""The simulator's users: what they like, and when they visit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.simulator.world import CATEGORIES, DAY, HISTORY_DAYS, HISTORY_START, PERIOD_START, Floats, Ints

AGE_GROUPS = ("18-25", "26-35", "36-45", "46-60", "60+")
#: The latent kinds of users; what drives the choice of each is in `pipeline/simulator/choice.py`.
KINDS = ("bargain hunter", "brand loyal", "shop loyal", "explorer")
#: Seconds that one visit takes at most, so that all its events precede the user's next one.
VISIT_SECONDS = 1_800

_AGE_SHARE = (0.22, 0.28, 0.22, 0.18, 0.10)
_AGE_ACTIVITY = (1.1, 1.2, 1.0, 0.9, 0.45)
_AGE_PRICE_TASTE = (-0.5, -0.1, 0.2, 0.4, 0.1)
_KIND_SHARE = (0.30, 0.25, 0.20, 0.25)
_PRICE_TASTE_DEVIATION = 0.6
_TASTE_CONCENTRATION = 6.0  # of the Dirichlet over all categories: a user likes a handful of them
# Visits are 1 + a Pareto (Lomax) tail: a third of the users have 0 or 1 before the last, a few have hundreds.
_ACTIVITY_SHAPE, _ACTIVITY_SCALE, _MOST_VISITS = 1.7, 6.5, 400
_VISITS_IN_PERIOD = 0.5  # the rest fall in the year of history: this is a shop that grows
_FOLLOW_UPS, _FOLLOW_UP_DAYS = 0.4, 1.0  # visits that come soon after another one, and how soon on average


@dataclass(frozen=True)
class Users:
    """Users `[U]`, the most active first; `age_group` and `kind` number the names above.

    `price_taste` is in deviations of the log price (positive tolerates dear items),
    `category_taste` `[U, C]` cumulates to 1. `visits` counts a user's visits; their times
    lie at `times[first_visit : first_visit + visits]`, rising, `VISIT_SECONDS` apart or more.
    """

    number: Ints
    age_group: Ints
    kind: Ints
    price_taste: Floats
    category_taste: Floats
    visits: Ints
    first_visit: Ints
    times: Ints


def draw_users(first: int, count: int, days: int, rng: np.random.Generator) -> Users:
    """Draws the users numbered `first` to `first + count - 1`; each visits in the logged period at least once."""
    age_group = rng.choice(len(AGE_GROUPS), size=count, p=_AGE_SHARE)
    scale = _ACTIVITY_SCALE * np.array(_AGE_ACTIVITY)[age_group]
    # A visit takes half an hour, so 24 a day always fit.
    visits = np.minimum(1 + np.floor(scale * rng.pareto(_ACTIVITY_SHAPE, count)), min(_MOST_VISITS, 24 * days))
    order = np.argsort(-visits, kind="stable")
    age_group, visits = age_group[order], visits[order].astype(np.int64)

    first_visit = np.cumsum(visits) - visits
    popular = 1.0 / (4.0 + np.arange(len(CATEGORIES)))
    category_taste = np.cumsum(rng.dirichlet(_TASTE_CONCENTRATION * popular / popular.sum(), size=count), axis=1)
    return Users(
        number=first + rng.permutation(count),
        age_group=age_group,
        kind=rng.choice(len(KINDS), size=count, p=_KIND_SHARE),
        price_taste=np.array(_AGE_PRICE_TASTE)[age_group] + _PRICE_TASTE_DEVIATION * rng.standard_normal(count),
        category_taste=category_taste / category_taste[:, -1:],
        visits=visits,
        first_visit=first_visit,
        times=_visit_times(visits, first_visit, days, rng),
    )


def _visit_times(visits: Ints, first_visit: Ints, days: int, rng: np.random.Generator) -> Ints:
    """Rising times of all users' visits, one user after the other."""
    user = np.repeat(np.arange(len(visits)), visits)
    total = len(user)
    in_period = rng.random(total) < _VISITS_IN_PERIOD
    in_period[first_visit] = True
    history = rng.uniform(0, HISTORY_DAYS * DAY, total)
    # Room at the end for the gaps added below: the last visit still falls in the period.
    room = days * DAY - VISIT_SECONDS * visits[user]
    since_start = np.where(in_period, HISTORY_DAYS * DAY + rng.uniform(0, 1, total) * room, history)

    follows = rng.random(total) < _FOLLOW_UPS
    follows[first_visit] = False
    after = since_start[np.maximum(np.arange(total) - 1, 0)] + rng.exponential(_FOLLOW_UP_DAYS * DAY, total)
    since_start = np.where(follows, np.minimum(after, HISTORY_DAYS * DAY + room), since_start)

    order = np.lexsort((since_start, user))
    rank = np.arange(total) - first_visit[user]
    return HISTORY_START + since_start[order].astype(np.int64) + rank * VISIT_SECONDS


def is_logged(time: Ints) -> np.ndarray:
    """Whether a visit falls in the period of logged sessions; an earlier one leaves its events only."""
    return time >= PERIOD_START
