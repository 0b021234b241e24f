"""Sessions from reviews: pure functions of Arrow tables, for any group of whole users or queries.

Both give the same sessions whatever the order and the grouping of their input: reviews are
sorted first, and every random choice is a keyed hash of the session.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.sampling import hash_texts, mix_hashes
from pipeline.sources.popularity_draw import popularity_draw


def unique_reviews(batches: list[pa.RecordBatch]) -> pa.Table:
    """The reviews without repetitions, by time, user and item.

    Args:
        batches: columns user_id, item_id, time, and for `query_sessions` query; at least one batch.
    """
    reviews = pa.Table.from_batches(batches)
    unique = reviews.group_by(reviews.schema.names, use_threads=False).aggregate([]).combine_chunks()
    return unique.sort_by([("time", "ascending"), ("user_id", "ascending"), ("item_id", "ascending")])


def last_review_sessions(reviews: pa.Table, items: pa.StringArray, seed: int) -> tuple[pa.RecordBatch, int]:
    """Each user's last review against one item that he never reviewed, uniform over `items`.

    Args:
        reviews: all reviews of some users, as `unique_reviews` gives them.
        items: the distinct items that anybody reviewed, in a fixed order.
        seed: key of the hashes.

    Returns:
        The sessions, and how many users have none since they reviewed every item.
    """
    user = _codes(reviews["user_id"])
    users = user.max(initial=-1) + 1
    item = pc.index_in(reviews["item_id"].combine_chunks(), value_set=items).to_numpy()
    session_key = mix_hashes(hash_texts(_session_ids(reviews), seed), "draw")

    # Several reviews at a user's last time (Amazon's times are days): the largest hash decides.
    order = np.lexsort((session_key, reviews["time"].to_numpy(), user))
    last = order[np.flatnonzero(np.diff(user[order], append=users))]  # [U], by user

    # A user's history is the items p_0 < p_1 < ...; the r-th item he never reviewed is r + j,
    # where j counts the p_i that come before it: those with p_i - i <= r.
    owner, known = np.divmod(np.unique(user * len(items) + item), len(items))
    begin = np.searchsorted(owner, np.arange(users))
    others = len(items) - np.bincount(owner, minlength=users)
    rank = (session_key[last] % np.maximum(others, 1).astype(np.uint64)).astype(np.int64)
    before = owner * len(items) + known - (np.arange(len(known)) - begin[owner])
    skipped = np.searchsorted(before, np.arange(users) * len(items) + rank, side="right") - begin

    kept = others > 0
    drawn = (rank + skipped)[kept, np.newaxis]
    sessions = _sessions(reviews.take(last[kept]), items, drawn, np.zeros(len(drawn), np.bool_))
    return sessions, int(users - len(drawn))


def query_sessions(reviews: pa.Table, size: int, seed: int) -> tuple[pa.RecordBatch, int]:
    """Every review against up to `size` others of its query, drawn by their popularity as of then.

    Args:
        reviews: all reviews of some queries, as `unique_reviews` gives them.
        size: candidates beside the bought item.
        seed: key of the hashes.

    Returns:
        The sessions, and how many reviews are none since no other item of the query had an
        event strictly before.
    """
    query, item = _codes(reviews["query"]), _codes(reviews["item_id"])
    items = pc.unique(reviews["item_id"].combine_chunks())
    time = reviews["time"].to_numpy()
    session_key, item_key = hash_texts(_session_ids(reviews), seed), hash_texts(items, seed)

    drawn = np.full((len(time), size), -1, np.int64)
    new_item = np.zeros(len(time), np.bool_)
    order = np.argsort(query, kind="stable")  # times stay sorted inside a query
    for rows in np.split(order, np.flatnonzero(np.diff(query[order])) + 1):
        own, code = np.unique(item[rows], return_inverse=True)
        chosen, new_item[rows] = popularity_draw(time[rows], code, session_key[rows], item_key[own], size)
        drawn[rows] = np.where(chosen >= 0, own[chosen], -1)

    kept = np.flatnonzero(drawn[:, 0] >= 0)
    return _sessions(reviews.take(kept), items, drawn[kept], new_item[kept]), len(time) - len(kept)


def _codes(column: pa.ChunkedArray) -> np.ndarray:
    """Texts as 0, 1, ... in the order of their first row."""
    return column.combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64)


def _session_ids(reviews: pa.Table) -> pa.Array:
    time = reviews["time"].cast(pa.string())
    return pc.binary_join_element_wise(reviews["user_id"], reviews["item_id"], time, "-").combine_chunks()


def _sessions(reviews: pa.Table, items: pa.StringArray, drawn: np.ndarray, new_item: np.ndarray) -> pa.RecordBatch:
    """Sessions of the reviews: the bought item, then the items of `drawn` `[S, size]` that are not -1."""
    bought = pc.index_in(reviews["item_id"].combine_chunks(), value_set=items).to_numpy()
    candidates = np.column_stack([bought, drawn])
    real = candidates >= 0
    offsets = pa.array(np.concatenate([[0], real.sum(axis=1).cumsum()]), pa.int32())
    is_bought = np.zeros(real.shape, np.bool_)
    is_bought[:, 0] = True

    def lists(values: pa.Array) -> pa.ListArray:
        return pa.ListArray.from_arrays(offsets, values)

    columns = {name: reviews[name].combine_chunks() for name in reviews.schema.names if name != "item_id"}
    return pa.RecordBatch.from_pydict(
        {
            "session_id": _session_ids(reviews),
            **columns,
            "candidates": lists(items.take(pa.array(candidates[real]))),
            "clicked": lists(pa.array(np.zeros(real.sum(), np.bool_))),
            "purchased": lists(pa.array(is_bought[real])),
            "new_item": pa.array(new_item),
        }
    )
