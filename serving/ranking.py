"""A ranked list for people: the candidates of one session, best first, and its gate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from serving.catalog import Catalog
from serving.client import SessionRanker
from serving.request import Session, Values


@dataclass(frozen=True)
class RankedItem:
    """One line of the list; `price` is None where missing, `bought` is known for a session of the log only."""

    item_id: str
    title: str
    price: float | None
    score: float
    bought: bool | None


@dataclass(frozen=True)
class Ranking:
    """One session's list, the gate that weighed its experts `[K]`, and the version that answered."""

    query: dict[str, Any]
    behaviors: int
    gate: list[float]
    version: int
    items: list[RankedItem]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def table(self, top: int = 10, title: str = "") -> str:
        """The best `top` items as text."""
        labelled = any(item.bought is not None for item in self.items)
        table = Table(title=title or None, title_justify="left", caption_justify="left")
        table.caption = f"gate [{', '.join(f'{g:.3f}' for g in self.gate)}] of model version {self.version}"
        for column in ("", "title", "item"):
            table.add_column(column)
        for column in ("price", "score"):
            table.add_column(column, justify="right")
        if labelled:
            table.add_column("bought")
        for place, item in enumerate(self.items[:top], start=1):
            price = "" if item.price is None else f"{item.price:,.2f}"
            row = [str(place), item.title, item.item_id, price, f"{item.score:.4f}"]
            table.add_row(*row, *(["yes" if item.bought else ""] if labelled else []))
        # titles are free text: `[pack of 2]` is no markup, `:shoe:` no emoji
        console = Console(width=110, no_color=True, markup=False, emoji=False)
        with console.capture() as text:
            query = " | ".join(str(value) for value in self.query.values() if value is not None)
            console.print(f"query {query}; {self.behaviors} behaviours")
            console.print(table)
        return text.get()


def rank_session(
    ranker: SessionRanker,
    catalog: Catalog,
    session: Session,
    candidates: Sequence[Values],
    labels: np.ndarray | None = None,
) -> Ranking:
    """Opens the session, scores its candidates and sorts them; equal scores keep the order given.

    Raises:
        RequestError, RankingError: as `SessionRanker`.
    """
    opened = ranker.open_session(session)
    items = []
    for index, score in opened.rank(candidates):
        item_id = candidates[index]["item_id"]
        bought = None if labels is None else bool(labels[index] > 0)
        price = _none_if_nan(candidates[index].get("price"))
        items.append(RankedItem(item_id, catalog.title(item_id), price, score, bought))
    return Ranking(
        query={field: _none_if_nan(value) for field, value in session.query.items()},
        behaviors=len(session.behaviors),
        gate=[float(g) for g in opened.gate],
        version=opened.version,
        items=items,
    )


def _none_if_nan(value: Any) -> Any:
    """A missing number as None: JSON has no NaN."""
    return None if isinstance(value, float | np.floating) and np.isnan(value) else value
