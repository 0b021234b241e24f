"""Figure 7: gate vectors of test sessions on a plane, coloured by user group."""

from __future__ import annotations

import warnings

import numpy as np
from matplotlib.figure import Figure
from sklearn.manifold import TSNE

from experiments.report.figure import Drawing, draw
from experiments.report.palette import series
from experiments.report.user_groups import Groups

#: Of fewer sessions t-SNE draws the map: UMAP's graph of neighbours says little then.
_FEWEST_FOR_UMAP = 500
#: Gates that differ by less are the same.
_CONSTANT = 1e-6
_MARKERS = "o^sDvP"


def place_gates(gates: np.ndarray, seed: int) -> tuple[np.ndarray, str]:
    """Positions `[B, 2]` of gates `[B, K]` such that alike gates are near, and the method's name."""
    if len(gates) >= _FEWEST_FOR_UMAP:
        from umap import UMAP

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return UMAP(n_neighbors=15, min_dist=0.1, init="pca", random_state=seed).fit_transform(gates), "UMAP"
    perplexity = min(30.0, max(1.0, (len(gates) - 1) / 3))
    return TSNE(perplexity=perplexity, init="random", random_state=seed).fit_transform(gates), "t-SNE"


def why_no_map(gates: np.ndarray) -> str:
    """Why there is nothing to see in gates `[B, K]`; empty where there is."""
    if gates.shape[1] == 1:
        return "This model has one expert, whose weight is always 1: there is no gate to draw."
    if np.ptp(gates, axis=0).max(initial=0) < _CONSTANT:
        return "The gate is the same for every sampled session: it did not learn to tell users apart."
    return "" if len(gates) >= 5 else "Too few sessions for a map of the gates."


def explained(gates: np.ndarray, groups: Groups) -> float:
    """The share of the gates' variance that lies between groups: 0 none, 1 all of it."""
    centred = gates - gates.mean(axis=0)
    between = sum(mask.sum() * np.square(centred[mask].mean(axis=0)).sum() for mask in groups.values() if mask.any())
    return float(between / np.square(centred).sum())


def draw_gate_map(
    name: str, title: str, gates: np.ndarray, places: np.ndarray, method: str, groups: Groups, paper: str = ""
) -> Drawing:
    """The figure.

    Args:
        gates: `[B, K]`.
        places: `[B, 2]`, as of `place_gates`.
        groups: masks `[B]` that do not overlap.
    """
    shown = {group: mask for group, mask in groups.items() if mask.any()}

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        # small groups over large ones, which would hide them
        on_top = {group: -int(mask.sum()) for group, mask in shown.items()}
        for index, (group, mask) in enumerate(shown.items()):
            axes.plot(
                *places[mask].T,
                linestyle="none",
                marker=_MARKERS[index % len(_MARKERS)],
                markersize=3.6,
                markeredgewidth=0,
                alpha=0.6,
                color=series(index),
                zorder=3 + on_top[group] / len(gates),
                label=f"{group} ({int(mask.sum()):,})",
            )
        axes.set(xlabel=f"{method}, first axis (no unit)", ylabel=f"{method}, second axis (no unit)")
        axes.set_xticks([])
        axes.set_yticks([])
        legend = figure.legend(loc="outside upper left", ncols=1 if max(map(len, shown)) > 16 else 2)
        for handle in legend.legend_handles:
            handle.set(alpha=1, markersize=7)  # type: ignore[union-attr]

    share = explained(gates, groups)
    return Drawing(
        name=name,
        title=title,
        caption=f"Each point is a session's gate; near points have alike gates. {share:.0%} of the gates' variance "
        "lies between these groups (0%: the gate does not tell them apart).",
        paper=paper,
        description=f"A map of {len(gates):,} gates in {len(shown)} groups; {share:.0%} of their variance is between.",
        svg=draw(name, 400, paint),
    )
