"""A chunk of simulated users walks through the shop: what is shown, clicked and bought.

Step `s` simulates the `s`-th visit of every user who has one, so the Python loop runs over
the visits of the most active user while NumPy runs over the users. Shapes: `A` users with
an `s`-th visit, `N` candidates, `M` remembered events, `V` visits of the chunk.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.simulator.choice import COEFFICIENTS, Behaviors, Bools, utility, visible_behaviors
from pipeline.simulator.users import Users
from pipeline.simulator.world import DAY, MODIFIERS, PHRASINGS, Floats, Ints, World

FEWEST_CANDIDATES, MOST_CANDIDATES = 8, 16
_DRAWS = 32  # draws from the category; repeated and unlisted items fall out, the first ones are shown
_POPULAR_DRAWS = 0.65  # share of the draws by exposure, the others are uniform
_MET_DRAWS = 2  # items of the category that the user met before, each with
_MET_SHARE = 0.5
_KIN_DRAWS = 2  # items that share category and brand with one the user met
_SAME_INTENT, _SAME_INTENT_DAYS = 0.6, 3  # a visit this soon after another often asks for the same category
_REMEMBERED_PURCHASES, _REMEMBERED_CLICKS = 48, 32


@dataclass(frozen=True)
class Visits:
    """Visits `[V]` with their candidates `[V, N]`; a candidate is an item's row, -1 where fewer are shown.

    `user` is a row of `Users`, `visit` counts from 0, `query` is a number of `query_texts`.
    `click_time` is 0 where not clicked, likewise `purchase_time`.
    """

    user: Ints
    visit: Ints
    time: Ints
    category: Ints
    query: Ints
    candidates: Ints
    probability: Floats
    click_time: Ints
    purchase_time: Ints


class _Memory:
    """The newest purchases and clicks of each user, `[U, M]`: two rings side by side."""

    def __init__(self, users: int) -> None:
        size = _REMEMBERED_PURCHASES + _REMEMBERED_CLICKS
        self.is_click = np.arange(size) >= _REMEMBERED_PURCHASES
        self._item = np.full((users, size), -1)
        self._time = np.zeros((users, size), np.int64)
        self._purchases, self._clicks = np.zeros(users, np.int64), np.zeros(users, np.int64)

    def behaviors(self, now: Ints) -> Behaviors:
        """What the first `A` users' sessions at `now` `[A]` see."""
        return visible_behaviors(self._item[: len(now)], self._time[: len(now)], self.is_click, now)

    def add(self, candidates: Ints, click_time: Ints, purchase_time: Ints) -> None:
        """Remembers the events of one visit of the first `A` users, `[A, N]`; time 0 is no event."""
        self._put(candidates, click_time, self._clicks, _REMEMBERED_PURCHASES, _REMEMBERED_CLICKS)
        self._put(candidates, purchase_time, self._purchases, 0, _REMEMBERED_PURCHASES)

    def _put(self, candidates: Ints, time: Ints, seen: Ints, offset: int, size: int) -> None:
        happened = time > 0
        slot = offset + (seen[: len(time), None] + np.cumsum(happened, axis=1) - 1) % size
        user, column = np.nonzero(happened)
        self._item[user, slot[user, column]] = candidates[user, column]
        self._time[user, slot[user, column]] = time[user, column]
        seen[: len(time)] += happened.sum(axis=1)


def simulate_visits(world: World, users: Users, rng: np.random.Generator) -> Visits:
    """Simulates every visit of `users`, step by step."""
    memory = _Memory(len(users.number))
    category = np.zeros(len(users.number), np.int64)
    before = np.zeros(len(users.number), np.int64)
    modifier_share = np.array([m.share for m in MODIFIERS])
    steps = []
    for step in range(int(users.visits.max())):
        active = int(np.count_nonzero(users.visits > step))  # users come sorted by their visits
        now = users.times[users.first_visit[:active] + step]
        category = _asked_category(users, category[:active], now - before[:active], rng)
        modifier = rng.choice(len(MODIFIERS), size=active, p=modifier_share)
        phrasing = rng.integers(PHRASINGS, size=active)
        before = now

        behaviors = memory.behaviors(now)
        candidates = _shown(world, category, now, behaviors, rng)
        item = np.maximum(candidates, 0)
        probability = 1 / (1 + np.exp(-utility(world, users, item, category, modifier, behaviors)))
        click_probability = probability ** np.array(COEFFICIENTS.click_exponent)[users.kind[:active], None]
        luck = np.where(candidates >= 0, rng.random(candidates.shape), 1.0)  # one draw: bought implies clicked
        click_time = now[:, None] + rng.integers(5, 601, candidates.shape)
        purchase_time = click_time + rng.integers(30, 901, candidates.shape)
        click_time = np.where(luck < click_probability, click_time, 0)
        purchase_time = np.where(luck < probability, purchase_time, 0)
        memory.add(candidates, click_time, purchase_time)

        user = np.arange(active)
        query = (category * PHRASINGS + phrasing) * len(MODIFIERS) + modifier
        visit = np.full(active, step)
        steps.append((user, visit, now, category, query, candidates, probability, click_time, purchase_time))
    return Visits(*(np.concatenate(column) for column in zip(*steps, strict=True)))


def _asked_category(users: Users, last: Ints, since_last: Ints, rng: np.random.Generator) -> Ints:
    """The query's category, `[A]`: by taste, or soon after a visit often the same again."""
    active = len(last)
    drawn = (rng.random((active, 1)) > users.category_taste[:active]).sum(axis=1)
    again = (since_last < _SAME_INTENT_DAYS * DAY) & (rng.random(active) < _SAME_INTENT)
    return np.where(again, last, drawn)


def _shown(world: World, category: Ints, now: Ints, behaviors: Behaviors, rng: np.random.Generator) -> Ints:
    """Candidates `[A, N]` in random order, without repetition, on sale at `now`; -1 pads."""
    active = len(category)
    start, end = world.category_start[category][:, None], world.category_start[category + 1][:, None]
    uniform = start + (rng.random((active, _DRAWS)) * (end - start)).astype(np.int64)
    low, high = world.exposure[start], world.exposure[end]
    popular = np.searchsorted(world.exposure, low + rng.random((active, _DRAWS)) * (high - low), side="right") - 1
    drawn = np.where(rng.random((active, _DRAWS)) < _POPULAR_DRAWS, np.clip(popular, start, end - 1), uniform)

    met = _met(behaviors, behaviors.visible & (world.category[behaviors.item] == category[:, None]), rng)
    brand_start, brand_end = world.brand_start[met], world.brand_end[met]
    kin = brand_start + (rng.random(met.shape) * (brand_end - brand_start)).astype(np.int64)
    drawn = np.concatenate(
        [
            np.where((met >= 0) & (rng.random(met.shape) < _MET_SHARE), met, -1)[:, :_MET_DRAWS],
            np.where(met >= 0, kin, -1)[:, -_KIN_DRAWS:],
            drawn,
        ],
        axis=1,
    )

    valid = (drawn >= 0) & (world.listed[drawn] <= now[:, None]) & _first_of_its_value(drawn)
    wanted = rng.integers(FEWEST_CANDIDATES, MOST_CANDIDATES + 1, size=(active, 1))
    kept = valid & (np.cumsum(valid, axis=1) <= wanted)
    order = np.argsort(np.where(kept, rng.random(kept.shape), 2.0), axis=1)[:, :MOST_CANDIDATES]
    return np.take_along_axis(np.where(kept, drawn, -1), order, axis=1)


def _met(behaviors: Behaviors, in_category: Bools, rng: np.random.Generator) -> Ints:
    """Random behaviours' items in the category, `[A, met + kin]`; -1 where there are fewer."""
    key = rng.random(in_category.shape, dtype=np.float32) * in_category
    column = np.argpartition(-key, _MET_DRAWS + _KIN_DRAWS, axis=1)[:, : _MET_DRAWS + _KIN_DRAWS]
    chosen = np.take_along_axis(in_category, column, axis=1)
    return np.where(chosen, np.take_along_axis(behaviors.item, column, axis=1), -1)


def _first_of_its_value(rows: Ints) -> Bools:
    """Marks the first of equal values in each row."""
    order = np.argsort(rows, axis=1, kind="stable")
    ordered = np.take_along_axis(rows, order, axis=1)
    first = np.ones(rows.shape, np.bool_)
    np.put_along_axis(first, order[:, 1:], ordered[:, 1:] != ordered[:, :-1], axis=1)
    return first
