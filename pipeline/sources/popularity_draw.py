"""Candidates of a query's sessions, drawn by popularity as of each session."""

from __future__ import annotations

import numpy as np

from pipeline.sampling import mix_hashes

#: Pairs of a session and an item that are drawn at once: bounds the memory to about 100 MB.
_PAIRS = 1 << 20


def popularity_draw(
    time: np.ndarray, item: np.ndarray, session_key: np.ndarray, item_key: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """For each event of a query, other items of the query that had an event strictly before it.

    Drawn without replacement, with probability proportional to an item's number of events
    `w` strictly before: the `size` smallest of the exponential races `-log(u) / w`, where `u`
    is uniform by the keyed hash of the pair. Takes time and work in `S * I`.

    Args:
        time: `[S]` times of the events, rising; each event is a session too.
        item: `[S]` item of each event, in `[0, I)`.
        session_key: `[S]` hash of each session.
        item_key: `[I]` hash of each item.
        size: candidates to draw for a session.

    Returns:
        `[S, size]` items in the order of their draw, -1 where no more exist, and `[S]`
        whether the event's own item had no event strictly before.
    """
    sessions, items = len(time), len(item_key)
    drawn = np.full((sessions, size), -1, np.int64)
    own_is_new = np.zeros(sessions, np.bool_)
    earlier = np.searchsorted(time, time, side="left")  # how many events are strictly before
    moment = np.cumsum(np.diff(time, prepend=time[:1]) > 0)  # events of one time share it
    step = max(1, _PAIRS // max(items, 1))
    for start in range(0, sessions, step):
        rows = slice(start, min(start + step, sessions))
        moments = moment[rows] - moment[start]
        counts = np.zeros((moments[-1] + 1, items), np.int64)
        counts[0] = np.bincount(item[: earlier[start]], minlength=items)
        between = slice(earlier[start], earlier[rows.stop - 1])
        np.add.at(counts, (moment[between] - moment[start] + 1, item[between]), 1)
        weight = counts.cumsum(axis=0)[moments]  # [rows, I], events strictly before
        own = (np.arange(len(weight)), item[rows])
        own_is_new[rows] = weight[own] == 0
        weight[own] = 0
        race = np.full(weight.shape, np.inf)
        session, other = np.nonzero(weight)
        u = (mix_hashes(session_key[rows][session], "draw", item_key[other]) + 0.5) / 2.0**64  # never 0
        race[session, other] = -np.log(u) / weight[session, other]
        nearest = np.argsort(race, axis=1, kind="stable")[:, :size]
        found = np.isfinite(np.take_along_axis(race, nearest, axis=1))
        drawn[rows, : nearest.shape[1]] = np.where(found, nearest, -1)
    return drawn, own_is_new
