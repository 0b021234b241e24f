"""trivago's hotel searches (RecSys Challenge 2019): the example of bringing one's own log.

docs/own-log.md walks through it. One table holds what users did, in order. A clickout names the hotels
that were shown, with their prices, and the one that was clicked: it is a session. Every action on a
hotel is a click, and what users and hotels were when the log first named them is their profile.
"""

from __future__ import annotations

from collections.abc import Iterator

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam.pvalue import TaggedOutput

from pipeline.batches import concat_batches, least_of_each
from pipeline.config import Scenario
from pipeline.counters import count
from pipeline.errors import InputError
from pipeline.raw_tables import RawTables, events_schema, impression_column, items_schema, sessions_schema, users_schema
from pipeline.rejects import reject_rows
from pipeline.sources.check_columns import check_columns
from pipeline.sources.layout import Layout
from pipeline.sources.list_files import list_files
from pipeline.sources.read_table import ReadTable
from pipeline.sources.rows import TIME, column
from pipeline.sources.table_files import table_files
from pipeline.steps.group_batches import GroupBatches
from pipeline.steps.shard_by import ShardBy

_REQUIRED = ("user_id", "session_id", "step", "action_type")
_OPTIONAL = ("reference", "platform", "city", "device", "current_filters", "impressions", "prices")
LOG_FIELDS = pa.schema(
    [column("timestamp", TIME, required=True)]
    + [column(name, pa.string(), required=True) for name in _REQUIRED]
    + [column(name, pa.string()) for name in _OPTIONAL]
)
#: The columns that the log has for features.
QUERY = pa.schema([("city", pa.string()), ("current_filters", pa.string())])
ITEMS = pa.schema([("item_id", pa.string()), ("price", pa.float32())])
#: Of a shown hotel; none is ever missing. `price_rank` is 1 for the cheapest, and equal prices share the lower rank.
IMPRESSIONS = pa.schema([pa.field(name, pa.float32(), nullable=False) for name in ("position", "price", "price_rank")])
USERS = pa.schema([("user_id", pa.string()), ("platform", pa.string()), ("device", pa.string())])
#: What is known of an item or a user at a time; the earliest becomes its row.
_SEEN = {"items": ITEMS.insert(1, pa.field("time", pa.int64())), "users": USERS.insert(1, pa.field("time", pa.int64()))}

_CLICKOUT = "clickout item"
_ITEM_ACTIONS = "^(clickout item|interaction item .*|search for item)$"
_IDS, _PRICES = r"^\d+(\|\d+)*$", r"^\d{1,9}(\|\d{1,9})*$"


def read_trivago(pipeline: beam.Pipeline, directory: str, scenario: Scenario, spill: str | None = None) -> RawTables:
    """Reads the log's files, `events.parquet` or shards of it.

    Counts `read/log` and `kept/log`: rows that name a hotel. The others are `dropped/log/no item`. What
    is made of them counts as read: `read/items`, `read/users`, `read/events`, `read/sessions`.

    Raises:
        InputError: a file is not there, or a feature reads a column that the log lacks.
    """
    features = scenario.features
    check_columns(features, {"item": ITEMS, "impression": IMPRESSIONS, "query": QUERY, "user": USERS})
    files = table_files(list_files(directory, holds="trivago's log, as events.parquet"), "events")
    if not files:
        raise InputError(f"{directory}: has no events; expected events.parquet, or shards of it")
    log = pipeline | "ReadLog" >> ReadTable("log", files, [Layout(LOG_FIELDS)])
    made = log.batches | "MakeTables" >> beam.FlatMap(_make_tables).with_outputs()
    columns = {"items": items_schema(features).names, "users": users_schema(features).names}
    first = {
        table: {table: getattr(made, table) | f"Shard{table.title()}" >> ShardBy(schema.names[0], scenario)}
        | f"Group{table.title()}" >> GroupBatches(spill)
        | f"FirstOf{table.title()}" >> beam.Map(_first_of_each, table, columns[table]).with_output_types(pa.RecordBatch)
        for table, schema in _SEEN.items()
    }
    sessions = made.sessions | "SelectColumns" >> beam.Map(pa.RecordBatch.select, sessions_schema(features).names)
    rejects = (log.rejects, made.rejects) | "GatherRejects" >> beam.Flatten()
    return RawTables(first["items"], first["users"], made.events, sessions, rejects)


def _make_tables(log: pa.RecordBatch) -> Iterator[TaggedOutput]:
    """Rows of the log to rows of each table."""
    names_item = pc.match_substring_regex(log["action_type"], _ITEM_ACTIONS)
    count("dropped/log/no item", names_item.false_count)
    log = log.filter(names_item)
    for reason, find in (("`reference` is no item", _no_item), ("`impressions` and `prices` do not match", _no_list)):
        bad = find(log)
        for reject in reject_rows(log.filter(bad), reason, table="log"):
            yield TaggedOutput("rejects", reject)
        log = log.filter(pc.invert(bad))
    count("kept/log", log.num_rows)

    user, item, time = log["user_id"], log["reference"], log["timestamp"]
    sessions, shown = _sessions(log.filter(pc.equal(log["action_type"], _CLICKOUT)))
    events = pa.RecordBatch.from_arrays([user, item, pa.repeat("click", log.num_rows), time], schema=events_schema())
    for table, batch in (("events", events), ("sessions", sessions)):
        count(f"read/{table}", batch.num_rows)
        yield TaggedOutput(table, batch)
    no_price = pa.repeat(pa.scalar(np.nan, pa.float32()), log.num_rows)
    named = pa.RecordBatch.from_arrays([item, time, no_price], schema=_SEEN["items"])
    users = pa.RecordBatch.from_arrays([user, time, log["platform"], log["device"]], schema=_SEEN["users"])
    yield TaggedOutput("items", least_of_each(concat_batches([shown, named], _SEEN["items"]), "item_id"))
    yield TaggedOutput("users", least_of_each(users, "user_id"))


def _no_item(log: pa.RecordBatch) -> pa.Array:
    return pc.invert(pc.match_substring_regex(log["reference"], r"^\d+$"))


def _no_list(log: pa.RecordBatch) -> pa.Array:
    """Clickouts whose shown items and prices are no two lists of one length."""
    items, prices = log["impressions"], log["prices"]
    good = pc.and_(pc.match_substring_regex(items, _IDS), pc.match_substring_regex(prices, _PRICES))
    good = pc.and_(good, pc.equal(pc.count_substring(items, "|"), pc.count_substring(prices, "|")))
    return pc.and_not(pc.equal(log["action_type"], _CLICKOUT), good)


def _sessions(clickouts: pa.RecordBatch) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """Each clickout as a session, and the shown items with their prices at its time."""
    candidates = pc.split_pattern(clickouts["impressions"], "|")
    items, owner = candidates.flatten(), pc.list_parent_indices(candidates)
    clicked = pc.equal(items, clickouts["reference"].take(owner))
    price = pc.split_pattern(clickouts["prices"], "|").flatten().cast(pa.float32())
    impressions = {
        "position": _places(owner.to_numpy()),
        "price": price.to_numpy(),
        "price_rank": _ranks(owner.to_numpy(), price.to_numpy()),
    }
    columns = {
        "session_id": pc.binary_join_element_wise(clickouts["session_id"], clickouts["step"], "-"),
        "user_id": clickouts["user_id"],
        "time": clickouts["timestamp"],
        **{name: clickouts[name] for name in QUERY.names},
        "candidates": candidates,
        "clicked": pa.ListArray.from_arrays(candidates.offsets, clicked),
        "purchased": pa.ListArray.from_arrays(candidates.offsets, pa.repeat(False, len(items))),
        "new_item": pa.repeat(False, clickouts.num_rows),
        **{
            impression_column(name): pa.ListArray.from_arrays(candidates.offsets, pa.array(values, pa.float32()))
            for name, values in impressions.items()
        },
    }
    shown = pa.RecordBatch.from_arrays([items, clickouts["timestamp"].take(owner), price], schema=_SEEN["items"])
    return pa.RecordBatch.from_pydict(columns), shown


def _places(owner: np.ndarray) -> np.ndarray:
    """1, 2, ... within each list; `owner` is the list of each value, rising."""
    return np.arange(len(owner)) - np.searchsorted(owner, owner) + 1


def _ranks(owner: np.ndarray, values: np.ndarray) -> np.ndarray:
    """1 for the least value of each list; equal values share the lower rank."""
    order = np.lexsort((values, owner))
    values = values[order]
    places = _places(owner)  # `owner` is sorted already, so it is its own order
    first = (places == 1) | np.concatenate([[True], values[1:] != values[:-1]])[: len(values)]
    ranks = np.empty(len(values), np.int64)
    ranks[order] = places[np.maximum.accumulate(np.where(first, np.arange(len(values)), 0))]
    return ranks


def _first_of_each(
    group: tuple[int, dict[str, list[pa.RecordBatch]]], table: str, columns: list[str]
) -> pa.RecordBatch:
    """A shard's items or users, each as the log first named it.

    A session that sees the item or the user is not earlier, so its row says nothing of the session's
    future. Of what is known at one time a price comes before none, as NaN is sorted last.
    """
    schema = _SEEN[table]
    first = least_of_each(concat_batches(group[1][table], schema), schema.names[0])
    count(f"read/{table}", first.num_rows)
    return first.append_column("title", pa.repeat("", first.num_rows)).select(columns)
