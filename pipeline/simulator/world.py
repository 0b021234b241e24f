"""The simulator's shop: categories, items, and how people phrase a query.

Nothing here depends on users; `pipeline/simulator/visits.py` lets users walk in.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

DAY = 86_400
#: First second of the logged sessions, 2024-01-01 UTC; events reach `HISTORY_DAYS` further back.
PERIOD_START = 1_704_067_200
HISTORY_DAYS = 365
HISTORY_START = PERIOD_START - HISTORY_DAYS * DAY

#: (name, median price, two-word phrasings of a query). The most visited category comes first.
CATEGORIES: tuple[tuple[str, float, tuple[str, ...]], ...] = (
    ("Running shoes", 80, ("running shoes", "trail sneakers", "jogging shoes", "marathon trainers")),
    ("Headphones", 60, ("wireless headphones", "bluetooth headphones", "studio headphones", "gaming headset")),
    ("Phone cases", 15, ("phone case", "shockproof case", "phone cover", "clear case")),
    ("Shampoo", 9, ("shampoo bottle", "dandruff shampoo", "repair shampoo", "hair wash")),
    ("Coffee beans", 14, ("coffee beans", "espresso beans", "whole beans", "arabica coffee")),
    ("T-shirts", 18, ("cotton shirt", "graphic tee", "plain t-shirt", "sport tee")),
    ("Backpacks", 50, ("school backpack", "laptop backpack", "hiking backpack", "travel rucksack")),
    ("Desk lamps", 35, ("desk lamp", "reading light", "led lamp", "office lamp")),
    ("Face creams", 22, ("face cream", "day moisturiser", "night cream", "hydrating cream")),
    ("Board games", 30, ("board game", "family game", "party game", "strategy game")),
    ("Keyboards", 65, ("mechanical keyboard", "gaming keyboard", "wireless keyboard", "compact keyboard")),
    ("Water bottles", 20, ("water bottle", "steel bottle", "sports bottle", "insulated flask")),
    ("Dog food", 28, ("dog food", "puppy food", "dry kibble", "grain-free kibble")),
    ("Yoga mats", 25, ("yoga mat", "exercise mat", "pilates mat", "thick mat")),
    ("Kettles", 40, ("electric kettle", "glass kettle", "tea kettle", "gooseneck kettle")),
    ("Wrist watches", 120, ("wrist watch", "automatic watch", "dress watch", "quartz watch")),
    ("Pillows", 26, ("memory pillow", "neck pillow", "down pillow", "side-sleeper pillow")),
    ("Cookware sets", 95, ("cookware set", "frying pans", "pots pans", "nonstick set")),
    ("Baby toys", 17, ("baby toy", "wooden toy", "stacking rings", "soft rattle")),
    ("Garden tools", 32, ("garden tools", "pruning shears", "hand trowel", "hedge trimmer")),
)
PHRASINGS = 4  # of each category


@dataclass(frozen=True)
class Modifier:
    """What a query may say beside its category, and how that moves the utility of a candidate."""

    prefix: str = ""
    suffix: str = ""
    share: float = 0.0
    price: float = 0.0
    popularity: float = 0.0


MODIFIERS = (
    Modifier(share=0.46),
    Modifier(prefix="cheap ", share=0.14, price=-1.2),
    Modifier(prefix="premium ", share=0.08, price=1.2),
    Modifier(prefix="best ", share=0.12, popularity=0.7),
    Modifier(suffix=" for women", share=0.08),
    Modifier(suffix=" for men", share=0.08),
    Modifier(suffix=" sale", share=0.04, price=-0.6),
)

_BRAND_STARTS = ("Vel", "Tor", "Mir", "Kal", "Bren", "Osk", "Dav", "Lum", "Fer", "Quin", "Hol", "Sarn")
_BRAND_ENDS = ("ano", "vik", "essa", "dor", "ique", "ora", "mund", "ley", "ark", "ette")
_SHOP_STARTS = ("Harbour", "Maple", "North", "River", "Sunny", "Castle", "Corner", "Bridge", "Orchard", "Lantern")
_SHOP_ENDS = ("Store", "Outlet", "Market", "Direct")
_SERIES = ("Classic", "Pro", "Lite", "Max", "Prime", "Urban", "Eco", "Nova", "Trail", "Home", "Core", "Plus")

_PRICE_DEVIATION = 0.5  # of the log price within a category
_EXPOSURE = 0.5  # weight of the attractiveness in what the search engine shows
_LISTED_BEFORE_HISTORY = 0.75  # share of items that were always there; the others come on sale later


@dataclass(frozen=True)
class World:
    """Items as columns, sorted by category and brand, so that both are ranges of row numbers.

    `[I]` items: `category`, `brand` and `shop` number the names; `price` is money,
    `relative_price` the log price in deviations from its category's median (negative is
    cheap); `attractiveness` is standard normal; `listed` is when the item came on sale,
    seconds since 1970. `brand_start` and `brand_end` bound the rows of the same brand and
    category. `category_start` is `[C + 1]`; `exposure` `[I + 1]` cumulates how much the
    search engine shows each item. `brand_prestige` and `shop_reach` are standard normal,
    one for each name.
    """

    title: list[str]
    brand_names: list[str]
    shop_names: list[str]
    category: Ints
    brand: Ints
    shop: Ints
    price: Floats
    relative_price: Floats
    attractiveness: Floats
    listed: Ints
    brand_start: Ints
    brand_end: Ints
    category_start: Ints
    exposure: Floats
    brand_prestige: Floats
    shop_reach: Floats


def build_world(items: int, days: int, rng: np.random.Generator) -> World:
    """Draws a shop of `items` items for a period of `days` days of sessions."""
    brand_names = [start + end for start in _BRAND_STARTS for end in _BRAND_ENDS]
    shop_names = [f"{start} {end}" for start in _SHOP_STARTS for end in _SHOP_ENDS]
    category = np.arange(items) * len(CATEGORIES) // items
    category_start = np.searchsorted(category, np.arange(len(CATEGORIES) + 1))

    brand, shop = np.empty(items, np.int64), np.empty(items, np.int64)
    for start, end in pairwise(category_start.tolist()):
        brands = rng.choice(len(brand_names), size=rng.integers(8, 13), replace=False)
        shops = rng.choice(len(shop_names), size=rng.integers(6, 9), replace=False)
        brand[start:end] = np.sort(rng.choice(brands, size=end - start))
        shop[start:end] = rng.choice(shops, size=end - start)

    of_brand = category * len(brand_names) + brand
    relative_price = rng.standard_normal(items)
    median_price = np.array([price for _, price, _ in CATEGORIES])[category]
    attractiveness = rng.standard_normal(items)
    comes_later = rng.random(items) > _LISTED_BEFORE_HISTORY
    series, number = rng.integers(len(_SERIES), size=items), rng.integers(100, 1000, size=items)
    return World(
        title=[
            f"{brand_names[b]} {_SERIES[s]} {n} {CATEGORIES[c][0]}"
            for b, s, n, c in zip(brand, series, number, category, strict=True)
        ],
        brand_names=brand_names,
        shop_names=shop_names,
        category=category,
        brand=brand,
        shop=shop,
        price=np.round(median_price * np.exp(_PRICE_DEVIATION * relative_price), 2),
        relative_price=relative_price,
        attractiveness=attractiveness,
        listed=HISTORY_START + comes_later * rng.integers((HISTORY_DAYS + days) * DAY, size=items),
        brand_start=np.searchsorted(of_brand, of_brand, side="left"),
        brand_end=np.searchsorted(of_brand, of_brand, side="right"),
        category_start=category_start,
        exposure=np.concatenate([[0.0], np.cumsum(np.exp(_EXPOSURE * attractiveness))]),
        brand_prestige=rng.standard_normal(len(brand_names)),
        shop_reach=rng.standard_normal(len(shop_names)),
    )


def query_texts() -> list[str]:
    """Every query of 2 to 4 terms, numbered `(category * PHRASINGS + phrasing) * len(MODIFIERS) + modifier`."""
    return [f"{m.prefix}{text}{m.suffix}" for _, _, phrasings in CATEGORIES for text in phrasings for m in MODIFIERS]
