"""The case as the page shows it: users, two rankings, gates, and the experts that made the difference."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from experiments.report.case import Case, difference
from experiments.report.figure import Drawing, draw, reference_line
from experiments.report.palette import series
from experiments.report.shortened import shortened
from pipeline.features import Categorical, Feature, Features, Numeric

_USERS = ("A", "B")
_ITEMS = 3
_EXPERTS = 6
_TABLE_FIELDS = 3
_TABLE_ROWS = 12


@dataclass(frozen=True)
class RankedItem:
    """A row of a ranking.

    Attributes:
        rank: from 1.
        other: its rank for the other user.
        cells: what the item is: its id, then the fields of `CaseView.fields`.
        bought: whether it was bought in the session that the list is of.
        seen: how many of the user's behaviours are of it.
        marked: whether it is one whose rank differs most.
    """

    rank: int
    other: int
    cells: tuple[str, ...]
    bought: bool
    seen: int
    marked: bool


@dataclass(frozen=True)
class UserView:
    """A user of the case: name, lines of what is known, gate by expert, ranking."""

    name: str
    facts: tuple[tuple[str, str], ...]
    items: tuple[RankedItem, ...]


@dataclass(frozen=True)
class CaseView:
    """The case, in words and numbers.

    Attributes:
        query: name and value of its features.
        numbers: those of `fields` that are numbers.
        any_own: whether an item is among the behaviours of one of the two.
        fields: heads of the columns of `RankedItem.cells`.
        held: what was set to 0 for both.
        summary: which experts made the difference.
    """

    query: tuple[tuple[str, str], ...]
    numbers: tuple[str, ...]
    any_own: bool
    fields: tuple[str, ...]
    users: tuple[UserView, UserView]
    candidates: int
    correlation: str
    held: tuple[str, ...]
    summary: str
    drawings: tuple[Drawing, ...]


def case_view(case: Case, features: Features) -> CaseView:
    """What the page shows of a case."""
    fields = _fields(features)
    ranks = case.ranks
    moved = np.argsort(-np.abs(ranks[0] - ranks[1]), kind="stable")[:_ITEMS]
    users = (_user(case, features, fields, 0, moved), _user(case, features, fields, 1, moved))
    return CaseView(
        query=tuple((f.field.replace("_", " "), _text(case.raw[f.name][0])) for f in features.query_features),
        fields=("item", *(f.field.replace("_", " ") for f in fields)),
        numbers=tuple(f.field.replace("_", " ") for f in fields if isinstance(f.declaration, Numeric)),
        any_own=any(item.seen for user in users for item in user.items),
        users=users,
        candidates=ranks.shape[1],
        correlation=_signed(1 - case.distance),
        held=tuple(name.partition("_")[2].replace("_", " ") for name in case.held),
        summary=_summary(case, moved),
        drawings=(_draw_gates(case), _draw_difference(case, moved)),
    )


def _fields(features: Features) -> list[Feature]:
    """Those of an item that say most to a reader: a price, and texts."""
    own = [f for f in features.candidate_features if f.as_of is None and f.field != "item_id"]
    price = [f for f in own if f.field == "price"]
    texts = [f for f in own if not isinstance(f.declaration, Numeric)]
    numbers = [f for f in own if isinstance(f.declaration, Numeric) and f not in price]
    return [*texts[: _TABLE_FIELDS - len(price)], *price, *numbers][:_TABLE_FIELDS]


def _user(case: Case, features: Features, fields: Sequence[Feature], user: int, moved: np.ndarray) -> UserView:
    raw, ranks = case.raw, case.ranks
    behaviors = raw["behavior_item_id"][user][: int(raw["behavior_count"][user])]
    items = tuple(
        RankedItem(
            rank=int(ranks[user, n]),
            other=int(ranks[1 - user, n]),
            cells=(_text(raw["candidate_item_id"][0, n]), *(_text(raw[f.name][0, n]) for f in fields)),
            bought=bool(raw["candidate_label"][0, n] > 0.5),
            seen=int((behaviors == raw["candidate_item_id"][0, n]).sum()),
            marked=n in moved,
        )
        for n in np.argsort(ranks[user])[:_TABLE_ROWS]
    )
    return UserView(_USERS[user], tuple(_facts(case, features, user)), items)


def _facts(case: Case, features: Features, user: int) -> list[tuple[str, str]]:
    """The user's features and what the behaviours are of."""
    raw, count = case.raw, int(case.raw["behavior_count"][user])
    facts = [(f.field.replace("_", " "), _text(raw[f.name][user])) for f in features.user_features]
    facts.append(("behaviours", f"{count:,}"))
    for f in features.behavior_features:
        values = raw[f.name][user][:count]
        name = f.field.replace("_", " ")
        if isinstance(f.declaration, Categorical) and f.field != "item_id" and count:
            top = Counter(_text(value) for value in values).most_common(2)
            facts.append((f"most frequent {name}", ", ".join(f"{value} ({times})" for value, times in top)))
        elif isinstance(f.declaration, Numeric) and np.isfinite(values).any():
            facts.append((f"median {name}", _text(np.nanmedian(values))))
    return facts


def _summary(case: Case, moved: np.ndarray) -> str:
    """Which experts made the difference, and by what."""
    parts = difference(case.gates, case.scores).from_mean()
    gate, score = np.abs(parts.by_gate).sum(), np.abs(parts.by_score).sum()
    total = max(gate + score, 1e-12)
    experts = np.abs(parts.by_gate + parts.by_score)[moved].sum(axis=0)
    if len(experts) == 1:
        return "The model has one expert, and its weight is 1: it scores the candidates differently for the two."
    first = np.argsort(-experts)[:2] + 1
    n = moved[0]
    ranks = case.ranks[:, n]
    return (
        f"Experts {first[0]} and {first[1]} made most of the difference. Over all candidates and experts, "
        f"{gate / total:.0%} of it comes from other gates and {score / total:.0%} from other scores of the "
        f"experts. Item {_text(case.raw['candidate_item_id'][0, n])} moves most: rank {ranks[0]} for user A, "
        f"{ranks[1]} for user B."
    )


def _draw_gates(case: Case) -> Drawing:
    gates = case.gates.mean(axis=1)
    title = "The gates of user A and user B"
    if gates.shape[1] == 1:
        return Drawing("case-gates", title, "", instead="This model has one expert, whose weight is always 1.")
    if not np.any(gates):
        return Drawing("case-gates", title, "", instead="Both gates are 0.")

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        for user in range(2):
            at = np.arange(gates.shape[1]) + (user - 0.5) * 0.36
            axes.bar(at, gates[user], width=0.34, color=series(user), label=f"user {_USERS[user]}")
        reference_line(axes, y=0)
        axes.set_xticks(range(gates.shape[1]), [str(k + 1) for k in range(gates.shape[1])])
        axes.grid(axis="x", visible=False)
        axes.set(xlabel="expert", ylabel="weight g (no unit)")
        figure.legend(loc="outside upper left", ncols=2)

    apart = int(np.abs(gates[0] - gates[1]).argmax())
    return Drawing(
        name="case-gates",
        title=title,
        caption=f"The weights differ most for expert {apart + 1}: {_signed(gates[0, apart])} for A, "
        f"{_signed(gates[1, apart])} for B. Weights need not sum to 1.",
        description=f"Two bars for each of {gates.shape[1]} experts.",
        svg=draw("case-gates", 300, paint),
    )


def _draw_difference(case: Case, moved: np.ndarray) -> Drawing:
    parts = difference(case.gates, case.scores).from_mean()
    total = (np.abs(parts.by_gate) + np.abs(parts.by_score))[moved].sum(axis=0)
    experts = np.sort(np.argsort(-total, kind="stable")[:_EXPERTS])
    ranks = case.ranks

    def paint(figure: Figure) -> None:
        axes_of = figure.subplots(len(moved), 1, sharex=True, squeeze=False)[:, 0]
        for axes, n in zip(axes_of, moved, strict=True):
            for index, (name, values) in enumerate((("other gate", parts.by_gate), ("other score", parts.by_score))):
                at = np.arange(len(experts)) + (index - 0.5) * 0.36
                axes.barh(at, values[n, experts], height=0.34, color=series(2 + index), label=name)
            reference_line(axes, x=0)
            axes.set_yticks(range(len(experts)), [f"expert {k + 1}" for k in experts])
            axes.set_ylim(len(experts) - 0.4, -0.6)
            axes.grid(axis="y", visible=False)
            item = _text(case.raw["candidate_item_id"][0, n])
            axes.set_title(f"{shortened(item, 24)}: rank {ranks[0, n]} for A, {ranks[1, n]} for B")
        axes_of[-1].set_xlabel("for B  ←   difference of logits   →  for A")
        figure.legend(*axes_of[0].get_legend_handles_labels(), loc="outside upper left", ncols=2)

    return Drawing(
        name="case-difference",
        title="Which experts made the difference, for the items whose rank differs most",
        caption="Bars to the right raise the item for user A, to the left for user B, against the mean of the list. "
        "All bars of an item add up to the difference of its two logits against that mean"
        + (f" (experts with the {_EXPERTS} largest shown)." if len(total) > _EXPERTS else "."),
        description=f"Bars by expert for {len(moved)} items, in two colours: by the gate, and by the expert's score.",
        svg=draw("case-difference", 60 + len(moved) * (38 + 25 * len(experts)), paint),
    )


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace") or "(missing)"
    if isinstance(value, str):
        return value or "(missing)"
    number = float(value)  # type: ignore[arg-type]
    if not np.isfinite(number):
        return "(missing)"
    return f"{number:,.0f}" if number == round(number) or abs(number) >= 1000 else f"{number:,.2f}"


def _signed(value: float) -> str:
    return f"{value:.2f}".replace("-", "\N{MINUS SIGN}")
