"""How much each expert is used by groups of users."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from experiments.report.figure import Drawing, draw
from experiments.report.palette import INK, series
from experiments.report.scorer import Parts
from experiments.report.shortened import shortened
from experiments.report.user_groups import Groups

#: A cell's colour at its strongest, so that the numbers on it stay legible.
_STRONGEST = 0.55
#: With more experts there is no room for numbers.
_MOST_WITH_NUMBERS = 6


@dataclass(frozen=True)
class ExpertUse:
    """Use of K experts by G groups; means and standard deviations over a group's sessions.

    Attributes:
        groups: names.
        sessions: `[G]`.
        share: `[G, K]`, `|g_k| / sum |g|`.
        share_deviation: `[G, K]`.
        spread: `[G, K]`, standard deviation of `g_k s_k` over a session's candidates, in logits.
        spread_deviation: `[G, K]`.
        negative: `[K]`, share of sessions whose weight of the expert is below 0.
    """

    groups: tuple[str, ...]
    sessions: np.ndarray
    share: np.ndarray
    share_deviation: np.ndarray
    spread: np.ndarray
    spread_deviation: np.ndarray
    negative: np.ndarray


def expert_use(parts: Parts, counts: np.ndarray, groups: Groups) -> ExpertUse:
    """Use of the experts.

    A gate's entries may be negative: an expert is then used against its own order, so its share
    is that of the absolute value. A part of the logit that all candidates of a session have in
    common ranks nothing, so what an expert does is the spread of its contribution.

    Args:
        parts: of B sessions.
        counts: candidates of each session, `[B]`.
        groups: masks `[B]`; those without sessions are left out.
    """
    real = (np.arange(parts.gates.shape[1]) < counts[:, np.newaxis])[..., np.newaxis]
    number = np.maximum(counts, 1)[:, np.newaxis]
    gates = parts.gates.sum(axis=1) / number
    absolute = np.abs(parts.gates).sum(axis=1) / number
    shares = absolute / np.maximum(absolute.sum(axis=1, keepdims=True), 1e-12)
    contributions = parts.gates * parts.scores
    means = (contributions * real).sum(axis=1) / number
    spreads = np.sqrt((np.square(contributions - means[:, np.newaxis]) * real).sum(axis=1) / number)
    kept = {name: mask for name, mask in groups.items() if mask.any()}

    def over(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rows = [values[mask] for mask in kept.values()]
        return np.array([row.mean(axis=0) for row in rows]), np.array([row.std(axis=0) for row in rows])

    (share, share_deviation), (spread, spread_deviation) = over(shares), over(spreads)
    return ExpertUse(
        groups=tuple(kept),
        sessions=np.array([int(mask.sum()) for mask in kept.values()]),
        share=share,
        share_deviation=share_deviation,
        spread=spread,
        spread_deviation=spread_deviation,
        negative=(gates < 0).mean(axis=0),
    )


def draw_expert_use(use: ExpertUse, label: str) -> list[Drawing]:
    """Two figures: shares of the gate's weight, and what the experts do to the order of candidates."""
    if use.share.shape[1] == 1:
        instead = "This model has one expert, which every user uses."
        return [Drawing("expert-share", f"Use of each expert by user group ({label})", "", instead=instead)]
    signs = [f"expert {k + 1} in {share:.0%}" for k, share in enumerate(use.negative) if share >= 0.005]
    negative = (
        f"A weight was negative for {', '.join(signs)} of sessions." if signs else "Weights were hardly ever negative."
    )
    gap = np.ptp(use.share, axis=0)
    most = int(gap.argmax())
    return [
        Drawing(
            name="expert-share",
            title=f"Share of the gate's weight by user group ({label})",
            caption="Read down a column: where numbers differ, groups use the expert differently. Expert "
            f"{most + 1} differs most, by {100 * gap[most]:.1f} percentage points. Shares are of absolute weights, |g| "
            f"over its sum; mean ± standard deviation over sessions. {negative}",
            paper="the gate is to choose other experts for other users; the paper shows it in Figure 7 only.",
            description=f"A table of {len(use.groups)} groups by {use.share.shape[1]} experts, darker where more used.",
            svg=_heat("expert-share", use, use.share, use.share_deviation, lambda value: f"{value:.0%}"),
        ),
        Drawing(
            name="expert-spread",
            title=f"What each expert does to the order ({label})",
            caption="Standard deviation of the expert's part of the logit, g s, over a session's candidates: what all "
            "candidates get alike ranks nothing. Mean ± standard deviation over sessions.",
            description=f"A table of {len(use.groups)} groups by {use.share.shape[1]} experts, darker where stronger.",
            svg=_heat("expert-spread", use, use.spread, use.spread_deviation, lambda value: f"{value:.2f}"),
        ),
    ]


def _heat(name: str, use: ExpertUse, values: np.ndarray, deviations: np.ndarray, text: Callable[[float], str]) -> str:
    experts = values.shape[1]

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        strongest = values.max() or 1.0
        for row in range(len(use.groups)):
            for k in range(experts):
                value = values[row, k]
                # never quite clear: an unused expert's cell can still be seen
                alpha = 0.04 + (_STRONGEST - 0.04) * value / strongest
                axes.bar(k, 0.92, width=0.95, bottom=row - 0.46, color=series(0), alpha=alpha, linewidth=0)
                if experts <= _MOST_WITH_NUMBERS:
                    axes.text(k, row - 0.12, text(value), ha="center", va="center", color=INK.light)
                    spread = f"± {text(deviations[row, k])}"
                    axes.text(k, row + 0.22, spread, ha="center", va="center", fontsize=10.5, color=INK.light)
        rows = zip(use.groups, use.sessions, strict=True)
        axes.set_yticks(range(len(use.groups)), [f"{shortened(group, 18)}\n({sessions:,})" for group, sessions in rows])
        axes.set_xticks(range(experts), [str(k + 1) for k in range(experts)])
        axes.set(xlabel="expert", ylabel="users (sessions)", xlim=(-0.5, experts - 0.5))
        axes.set_ylim(len(use.groups) - 0.5, -0.5)
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)

    return draw(name, 70 + 46 * len(use.groups), paint)
