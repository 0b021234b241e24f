"""What a simulated user buys: the utility of each shown candidate.

The paper's Figure 2 is planted here. With `old` = the user's visible behaviours include
the query's category:

    utility = liking(kind) + query modifier
            + popularity and price                                          if not old
            + affinity to brand, shop, item and price of the behaviours     if old
    p       = sigmoid(utility - offset)

The weights of the affinities differ by the user's kind. A kind is latent, and its
behaviours reveal it: cheap items, prestigious brands, well-known shops, or many clicks
on items few others want.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.simulator.users import Users
from pipeline.simulator.world import DAY, MODIFIERS, Floats, Ints, World

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Coefficients:
    """Weights of the utility; tuples go by `simulator.users.KINDS`."""

    #: Visible behaviours, days back: as the paper takes them.
    click_days: int = 7
    purchase_days: int = 365

    #: Liking of a kind for any item: what makes its behaviours tell it.
    like_cheap: tuple[float, ...] = (0.4, 0.0, 0.0, 0.0)
    like_prestige: tuple[float, ...] = (0.0, 0.7, 0.0, 0.0)
    like_reach: tuple[float, ...] = (0.0, 0.0, 0.7, 0.0)
    like_popular: tuple[float, ...] = (0.0, 0.0, 0.0, -0.6)

    #: New to the category: the crowd and the price decide; `price_taste` softens the price.
    new_popularity: float = 0.8
    new_price: float = -0.5
    new_price_taste: float = 0.9

    #: Old to the category: the own behaviours decide. Counts saturate as 1 - exp(-count / 2).
    old_popularity: float = 0.05
    old_brand: tuple[float, ...] = (0.6, 3.4, 0.6, -0.8)
    old_shop: tuple[float, ...] = (0.4, 0.4, 3.2, 0.2)
    old_item_purchases: tuple[float, ...] = (0.8, 1.2, 1.0, -3.0)
    #: A click counts 1 at once and fades with the days: exp(-days / 2).
    old_item_click: tuple[float, ...] = (1.6, 1.2, 1.2, 0.8)
    #: Weight of |relative price - mean relative price of the behaviours in the category|.
    old_price_distance: tuple[float, ...] = (-0.8, -1.2, -1.2, -1.0)
    old_price: tuple[float, ...] = (-0.8, 0.3, 0.3, 0.3)

    #: Sets how much is bought: about one purchase a session.
    new_offset: float = 3.25
    old_offset: tuple[float, ...] = (2.9, 3.5, 3.5, 2.0)

    #: A candidate is clicked with probability p ** exponent, and always when bought.
    click_exponent: tuple[float, ...] = (0.6, 0.7, 0.7, 0.5)


COEFFICIENTS = Coefficients()


@dataclass(frozen=True)
class Behaviors:
    """What sessions see of their users' behaviours, `[A, M]`; `visible` marks the real ones.

    `is_click` `[M]` tells clicks from purchases, `age` is in days.
    """

    item: Ints
    age: Floats
    visible: Bools
    is_click: Bools


def utility(
    world: World, users: Users, candidates: Ints, category: Ints, modifier: Ints, behaviors: Behaviors
) -> Floats:
    """Utility less its offset, `[A, N]`, of candidates `[A, N]` for the first `A` of `users`.

    `category` and `modifier` are those of the query, `[A]`.
    """
    c = COEFFICIENTS
    kind = users.kind[: len(candidates)]
    price, popularity = world.relative_price[candidates], world.attractiveness[candidates]

    liking = (
        _of(c.like_popular, kind) * popularity
        - _of(c.like_cheap, kind) * price
        + _of(c.like_prestige, kind) * world.brand_prestige[world.brand[candidates]]
        + _of(c.like_reach, kind) * world.shop_reach[world.shop[candidates]]
    )
    asked = (
        _of(tuple(m.price for m in MODIFIERS), modifier) * price
        + _of(tuple(m.popularity for m in MODIFIERS), modifier) * popularity
    )
    price_weight = c.new_price + c.new_price_taste * users.price_taste[: len(candidates), None]
    new = c.new_popularity * popularity + price_weight * price - c.new_offset

    in_category = behaviors.visible & (world.category[behaviors.item] == category[:, None])
    mean_price = _mean(world.relative_price[behaviors.item], in_category)[:, None]
    same_item = _same(np.arange(len(world.category)), candidates, behaviors)
    last_click = np.where(same_item & behaviors.is_click, behaviors.age[:, None, :], np.inf).min(axis=2)
    old = (
        c.old_popularity * popularity
        + _of(c.old_price, kind) * price
        + _of(c.old_price_distance, kind) * np.abs(price - mean_price)
        + _of(c.old_brand, kind) * _saturated(_same(world.brand, candidates, behaviors))
        + _of(c.old_shop, kind) * _saturated(_same(world.shop, candidates, behaviors))
        + _of(c.old_item_purchases, kind) * _saturated(same_item & ~behaviors.is_click)
        + _of(c.old_item_click, kind) * np.exp(-last_click / 2)
        - _of(c.old_offset, kind)
    )
    return liking + asked + np.where(in_category.any(axis=1)[:, None], old, new)


def visible_behaviors(item: Ints, time: Ints, is_click: Bools, now: Ints) -> Behaviors:
    """Cuts remembered events `[A, M]` (item -1: none) to the windows before the sessions' times `[A]`."""
    age = (now[:, None] - time) / DAY
    window = np.where(is_click, COEFFICIENTS.click_days, COEFFICIENTS.purchase_days)
    return Behaviors(np.maximum(item, 0), age, (item >= 0) & (age > 0) & (age <= window), is_click)


def _of(weights: tuple[float, ...], index: Ints) -> Floats:
    """Each session's weight, `[A, 1]`."""
    return np.array(weights)[index][:, None]


def _same(column: Ints, candidates: Ints, behaviors: Behaviors) -> Bools:
    """Which visible behaviours share the candidate's value of an item column `[I]`: `[A, N, M]`."""
    return (column[candidates][:, :, None] == column[behaviors.item][:, None, :]) & behaviors.visible[:, None, :]


def _saturated(same: Bools) -> Floats:
    """Count over the behaviours, saturating, `[A, N]`."""
    return 1 - np.exp(-same.sum(axis=2) / 2)


def _mean(values: Floats, mask: Bools) -> Floats:
    """Mean of the masked values, `[A]`; 0 where there is none."""
    return (values * mask).sum(axis=1) / np.maximum(mask.sum(axis=1), 1)
