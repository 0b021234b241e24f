"""The join of one shard of users: events, sessions and profiles in, sessions with behaviours out.

Pure: Arrow batches in and out, no Beam. Items are row numbers of the `ItemIndex`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.as_of import EntityHistory, entity_features
from pipeline.batches import concat_batches, least_of_each
from pipeline.co_purchases import PAIRS_SCHEMA, pair_purchases
from pipeline.config import Scenario
from pipeline.days import NO_DAY, SECONDS_OF_A_DAY
from pipeline.features import USER_ENTITY, Features, Numeric
from pipeline.prepared_data import PARTS
from pipeline.ranges import offsets_of
from pipeline.raw_tables import impression_column, sessions_schema
from pipeline.sampling import DROPPED, assign_parts, hash_texts, mix_hashes, sample_negatives
from pipeline.user_history import PURCHASE, UserHistory

RESOLVED_EVENTS = pa.schema(
    [("user_id", pa.string()), ("item", pa.int32()), ("action", pa.int8()), ("time", pa.int64())]
)


def resolved_sessions(features: Features) -> pa.Schema:
    """Schema of sessions whose candidates are item rows."""
    schema = sessions_schema(features)
    place = schema.get_field_index("candidates")
    return schema.set(place, pa.field("candidates", pa.list_(pa.int32())))


def users_at_end_schema(features: Features) -> pa.Schema:
    """Schema of users with their as-of features at the log's end."""
    names = entity_features(features.as_of).get(USER_ENTITY, {})
    return pa.schema([("user_id", pa.string()), *((name, pa.float32()) for name in names)])


@dataclass(frozen=True)
class JoinedShard:
    """What a shard gives.

    Attributes:
        sessions: sorted by part, day, user, time and id, with columns session_id, user_id, time, part
            (position in `PARTS`), day (since 1970, or `NO_DAY`), candidates, label and the impressions'
            features (lists), behavior_item, behavior_action and behavior_age_days (lists, newest first), and the
            query's and user's features.
        rejected: sessions whose user lacks a number that must not be missing: session_id, user_id, time.
        pairs: co-purchases, see `pair_purchases`.
        users: in `users_at_end_schema`.
        counts: how many rows of each table were kept and were left out, by reason.
    """

    sessions: pa.RecordBatch
    rejected: pa.RecordBatch
    pairs: pa.RecordBatch
    users: pa.RecordBatch
    counts: Counter[str]


def join_sessions(
    scenario: Scenario,
    *,
    events: pa.RecordBatch,
    sessions: pa.RecordBatch,
    users: pa.RecordBatch,
    item_hashes: np.ndarray,
    boundaries: tuple[int, int],
    log_end: int,
) -> JoinedShard:
    """Joins all events, sessions and profiles of some users; rows may come in any order.

    Args:
        events: in `RESOLVED_EVENTS`.
        sessions: in `resolved_sessions`.
        users: in `users_schema`; a user may be absent or there more than once.
        item_hashes: keyed hash of each item row.
        boundaries: when validation and test begin, see `split_boundaries`.
        log_end: one second after the log's last event or session.
    """
    settings, features = scenario.pipeline, scenario.features
    counts: Counter[str] = Counter({"kept/events": events.num_rows})
    names, event_user, session_user = _number_users(events, sessions)
    item, action, time = (events.column(name).to_numpy() for name in ("item", "action", "time"))

    part = assign_parts(
        settings.split,
        time=sessions.column("time").to_numpy(),
        boundaries=boundaries,
        user_hash=hash_texts(names, settings.seed)[session_user],
        new_item=sessions.column("new_item").to_numpy(zero_copy_only=False),
    )
    counts["dropped/sessions/new item"] = int((part == DROPPED).sum())
    day = sessions.column("time").to_numpy() // SECONDS_OF_A_DAY
    if settings.partition_by == "none":
        day = np.full_like(day, NO_DAY)
    order = _session_order(sessions, session_user, part, day)
    order = order[part[order] != DROPPED]
    sessions, session_user, part, day = sessions.take(pa.array(order)), session_user[order], part[order], day[order]

    profiles, complete, duplicates = _profiles(users, sessions.column("user_id"), features)
    counts["dropped/users/duplicate"] = duplicates
    counts["kept/users"] = users.num_rows - duplicates
    rejected = sessions.filter(pa.array(~complete)).select(["session_id", "user_id", "time"])
    candidates = _choose_candidates(scenario, sessions, part, item_hashes, complete, counts)
    impressions = {
        feature.name: sessions.column(impression_column(feature.column)).flatten().take(pa.array(candidates.place))
        for feature in features.impression_features
    }
    kept = np.flatnonzero(np.diff(candidates.offsets) > 0)
    counts["kept/sessions"] = len(kept)
    sessions, session_user, part, day = sessions.take(pa.array(kept)), session_user[kept], part[kept], day[kept]
    session_time = sessions.column("time").to_numpy()

    lists = UserHistory(event_user, item, action, time, settings.behaviors).behaviors(session_user, session_time)
    age = np.repeat(session_time, np.diff(lists.offsets)) - lists.time
    user_features = entity_features(features.as_of).get(USER_ENTITY, {})
    history = EntityHistory(event_user, action, time)
    offsets = np.append(0, np.cumsum(np.diff(candidates.offsets)[kept]))
    columns: dict[str, pa.Array] = {
        **{name: sessions.column(name) for name in ("session_id", "user_id", "time")},
        "part": pa.array(part, pa.int8()),
        "day": pa.array(day, pa.int32()),
        "candidates": _lists(offsets, candidates.item, pa.int32()),
        "label": _lists(offsets, candidates.label, pa.float32()),
        **{
            name: pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values)
            for name, values in impressions.items()
        },
        "behavior_item": _lists(lists.offsets, lists.item, pa.int32()),
        "behavior_action": _lists(lists.offsets, lists.action, pa.int8()),
        "behavior_age_days": _lists(lists.offsets, age / SECONDS_OF_A_DAY, pa.float32()),
        **{feature.name: sessions.column(feature.column) for feature in features.query_features},
        **{name: column.take(pa.array(kept)) for name, column in profiles.items()},
        **{
            f"{USER_ENTITY}_{name}": pa.array(values)
            for name, values in history.numbers(user_features, session_user, session_time).items()
        },
    }
    active = np.unique(event_user)
    at_end = history.numbers(user_features, active, np.full(len(active), log_end))
    purchases = action == PURCHASE
    wants_pairs = any(as_of.measure == "bought_with" for as_of in features.as_of.values())
    return JoinedShard(
        sessions=pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns)),
        rejected=rejected,
        pairs=pair_purchases(
            event_user[purchases],
            item[purchases],
            time[purchases],
            round(settings.behaviors.purchase_days * SECONDS_OF_A_DAY),
        )
        if wants_pairs
        else concat_batches([], PAIRS_SCHEMA),
        users=pa.RecordBatch.from_arrays(
            [names.take(pa.array(active)), *(pa.array(values) for values in at_end.values())],
            schema=users_at_end_schema(features),
        ),
        counts=counts,
    )


@dataclass(frozen=True)
class _Candidates:
    """Chosen candidates of S sessions, flat: session s has `[offsets[s], offsets[s + 1])`.

    `place` is where each was among all that the sessions showed.
    """

    offsets: np.ndarray
    place: np.ndarray
    item: np.ndarray
    label: np.ndarray


def _number_users(events: pa.RecordBatch, sessions: pa.RecordBatch) -> tuple[pa.Array, np.ndarray, np.ndarray]:
    """Users' ids, sorted, and the user number of each event and of each session."""
    both = pa.concat_arrays([events.column("user_id"), sessions.column("user_id")]).dictionary_encode()
    order = pc.array_sort_indices(both.dictionary)
    rank = np.empty(len(order), np.int64)
    rank[order.to_numpy()] = np.arange(len(order))
    numbers = rank[both.indices.to_numpy()]
    return both.dictionary.take(order), numbers[: events.num_rows], numbers[events.num_rows :]


def _session_order(sessions: pa.RecordBatch, user: np.ndarray, part: np.ndarray, day: np.ndarray) -> np.ndarray:
    """By part, day, user, time and id: the order of the records, whatever the order of the log."""
    own = {name: sessions.column(name) for name in ("time", "session_id")}
    keys = pa.table({"part": part, "day": day, "user": user, **own})
    return pc.sort_indices(keys, [(name, "ascending") for name in keys.schema.names]).to_numpy()


def _profiles(
    users: pa.RecordBatch, wanted: pa.Array, features: Features
) -> tuple[dict[str, pa.Array], np.ndarray, int]:
    """The user's own features for each session, which sessions have all they need, and how many profiles repeat."""
    given = users.num_rows
    users = least_of_each(users, "user_id")
    rows = pc.index_in(wanted, users.column("user_id"))
    complete = np.ones(len(wanted), bool)
    profiles = {}
    for feature in features.user_features:
        if feature.as_of is not None:
            continue
        values = users.column(feature.column).take(rows)
        if isinstance(feature.declaration, Numeric):
            values = pc.fill_null(values, float("nan"))
            if not feature.declaration.optional:
                complete &= ~pc.is_nan(values).to_numpy(zero_copy_only=False)
        else:
            values = pc.fill_null(values, "")
        profiles[feature.name] = values
    return profiles, complete, given - users.num_rows


def _choose_candidates(
    scenario: Scenario,
    sessions: pa.RecordBatch,
    part: np.ndarray,
    item_hashes: np.ndarray,
    complete: np.ndarray,
    counts: Counter[str],
) -> _Candidates:
    """Which shown items stay, in an order that says nothing about the label.

    Validation and test keep every shown item; training keeps a sample, and no session without
    a positive. Sessions that are not `complete` keep nothing.
    """
    settings = scenario.pipeline
    lists = sessions.column("candidates")
    lengths = pc.list_value_length(lists).to_numpy(zero_copy_only=False)
    session = np.repeat(np.arange(len(lengths)), lengths)
    item = lists.flatten().to_numpy(zero_copy_only=False)
    positive = sessions.column(settings.label).flatten().to_numpy(zero_copy_only=False)

    # np.unique gives the first place of each (session, item), whose impression is taken: a choice that does not
    # look at the label. Bought in one place is bought.
    _, first, group = np.unique(session * np.int64(len(item_hashes)) + item, return_index=True, return_inverse=True)
    positive = np.bincount(group[positive], minlength=len(first))[group] > 0
    counts["dropped/candidates/duplicate"] = len(item) - len(first)
    place = np.sort(first)
    session, item, positive = session[place], item[place], positive[place]

    hashes = item_hashes[item]
    session_hash = hash_texts(sessions.column("session_id"), settings.seed)[session]
    sampled = sample_negatives(
        session, positive, mix_hashes(hashes, "sample", session_hash), settings.negatives_per_positive
    )
    train = (part == PARTS.index("train"))[session]
    keep = np.where(train, sampled, True) & complete[session]
    with_positive = np.bincount(session[positive], minlength=len(lengths)) > 0
    counts["dropped/sessions/no positive"] = int((~with_positive & complete & (part == PARTS.index("train"))).sum())
    counts["dropped/candidates/not sampled"] = int((train & ~keep & (with_positive & complete)[session]).sum())

    order = np.lexsort((item, mix_hashes(hashes, "order", session_hash), session))
    order = order[keep[order]]
    return _Candidates(
        offsets_of(session[order], len(lengths)), place[order], item[order], positive[order].astype(np.float32)
    )


def _lists(offsets: np.ndarray, values: np.ndarray, type: pa.DataType) -> pa.ListArray:
    return pa.ListArray.from_arrays(
        pa.array(offsets, pa.int32()), pa.array(values.astype(type.to_pandas_dtype()), type)
    )
