"""Amazon reviews, in the layouts of 2014, 2018 and 2023, as two scenarios (files: docs/amazon.md).

A review is a purchase. Reviews are joined to the metadata on the item and grouped by user
(`read_amazon`) or by query (`read_amazon_search`); `amazon_sessions` turns a group into sessions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam.pvalue import AsSingleton, TaggedOutput

from pipeline.batches import GatherBatches, split_batch
from pipeline.config import Scenario
from pipeline.counters import count
from pipeline.errors import InputError
from pipeline.raw_tables import RawTables, Reject, events_schema, items_schema, sessions_schema
from pipeline.sampling import hash_texts, mix_hashes
from pipeline.sources.amazon_metadata import ITEMS_SCHEMA, METADATA_LAYOUTS, parse_metadata
from pipeline.sources.amazon_sessions import last_review_sessions, query_sessions, unique_reviews
from pipeline.sources.check_columns import check_columns
from pipeline.sources.layout import Layout
from pipeline.sources.list_files import list_files
from pipeline.sources.open_raw import open_raw
from pipeline.sources.read_table import ReadTable
from pipeline.sources.rows import MILLISECONDS, TIME, check_rows, column
from pipeline.steps.group_batches import GroupBatches

#: The fields of a review that are read, and their names from there on. A line tells its release by its fields.
REVIEW_LAYOUTS = (
    Layout(
        pa.schema(
            [
                column("user_id", pa.string(), required=True),
                column("parent_asin", pa.string(), required=True),
                column("timestamp", MILLISECONDS, required=True),
            ]
        ),
        marks=("user_id", "parent_asin"),  # 2023
    ),
    Layout(
        pa.schema(
            [
                column("reviewerID", pa.string(), required=True),
                column("asin", pa.string(), required=True),
                column("unixReviewTime", TIME, required=True),
            ]
        )
    ),
)
REVIEW_COLUMNS = ["user_id", "item_id", "time"]
ITEM_IDS = pa.schema([("item_id", pa.string())])
QUERIES_SCHEMA = pa.schema([column("item_id", pa.string(), required=True), column("query", pa.string(), required=True)])

_METADATA_FILE = re.compile(r"meta_.*\.jsonl?(\.gz)?")
_SHARDED = tuple[int, pa.RecordBatch]
_REVIEWS_FILE = re.compile(r"(?!meta_).*\.jsonl?(\.gz)?")
_QUERIES_FILE = re.compile(r"queries_.*\.tsv(\.gz)?")


def read_amazon(pipeline: beam.Pipeline, directory: str, scenario: Scenario, spill: str | None = None) -> RawTables:
    """The paper's recommendation task: each user's last review against one random other item.

    Counts `dropped/reviews/duplicate`, `dropped/reviews/no metadata` and `dropped/sessions/no candidates`;
    events and sessions that are made of reviews count as read.

    Raises:
        InputError: a file is not there, or a feature reads a column that the files lack.
    """
    check_columns(scenario.features, _given())
    items, reviews, rejects = _read_items_and_reviews(pipeline, directory, scenario)
    reviewed = (
        reviews
        | "TakeReviewedItems" >> beam.Map(_distinct_items)
        | "GatherReviewedItems" >> GatherBatches(ITEM_IDS, _distinct_items)
    )
    by_user = reviews | "ShardReviewsByUser" >> beam.FlatMap(_by_user, scenario.pipeline.join_shards).with_output_types(
        _SHARDED
    )
    made = (
        {"reviews": by_user}
        | "GroupReviewsByUser" >> GroupBatches(spill)
        | "MakeLastReviewSessions"
        >> beam.FlatMap(_make_last_review_sessions, AsSingleton(reviewed), scenario).with_outputs(
            "events", main="sessions"
        )
    )
    return RawTables(items, _no_users(pipeline), made.events, made.sessions, rejects)


def read_amazon_search(
    pipeline: beam.Pipeline, directory: str, scenario: Scenario, spill: str | None = None
) -> RawTables:
    """A search for every review: its item's query, and others of the query by popularity as of then.

    Counts what `read_amazon` counts, `dropped/queries/duplicate` and `dropped/sessions/no query`.

    Raises:
        InputError: a file is not there, or a feature reads a column that the files lack.
    """
    check_columns(scenario.features, _given("query"))
    items, reviews, rejects = _read_items_and_reviews(pipeline, directory, scenario)
    files = _files(directory, _QUERIES_FILE, "queries (item, tab, query), as queries_*.tsv or queries_*.tsv.gz")
    read = (
        pipeline
        | "ListQueries" >> beam.Create(files)
        | "ReadQueries" >> beam.FlatMap(_read_queries).with_outputs("rejects", main="batches")
    )
    queries = read.batches | "GatherQueries" >> GatherBatches(QUERIES_SCHEMA, _one_query_of_each_item)
    by_query = (
        reviews
        | "JoinQueries" >> beam.Map(_join_queries, AsSingleton(queries))
        | "ShardReviewsByQuery" >> beam.FlatMap(_by_query, scenario.pipeline.join_shards).with_output_types(_SHARDED)
    )
    made = (
        {"reviews": by_query}
        | "GroupReviewsByQuery" >> GroupBatches(spill)
        | "MakeQuerySessions" >> beam.FlatMap(_make_query_sessions, scenario).with_outputs("events", main="sessions")
    )
    rejects = (rejects, read.rejects) | "GatherAllRejects" >> beam.Flatten()
    return RawTables(items, _no_users(pipeline), made.events, made.sessions, rejects)


def _given(*query: str) -> dict[str, pa.Schema]:
    """The columns that the files have for features."""
    return {"item": ITEMS_SCHEMA, "query": pa.schema([(name, pa.string()) for name in query]), "user": pa.schema([])}


def _files(directory: str, name: re.Pattern[str], what: str) -> list[str]:
    listed = list_files(directory, holds="the Amazon review data set's files")
    files = [path for each, path in listed.items() if name.fullmatch(each)]
    if not files:
        raise InputError(f"{directory}: has no {what}")
    return files


def _read_items_and_reviews(
    pipeline: beam.Pipeline, directory: str, scenario: Scenario
) -> tuple[beam.PCollection, beam.PCollection, beam.PCollection]:
    """Items; the reviews of these items in `REVIEW_COLUMNS`; rejects."""
    metadata_files = _files(directory, _METADATA_FILE, "metadata, as meta_*.json, meta_*.jsonl or either with .gz")
    reviews_files = _files(directory, _REVIEWS_FILE, "reviews, as *.json, *.jsonl or either with .gz (not meta_*)")
    metadata = pipeline | "ReadMetadata" >> ReadTable("items", metadata_files, METADATA_LAYOUTS, literal_eval=True)
    reviews = pipeline | "ReadReviews" >> ReadTable("reviews", reviews_files, REVIEW_LAYOUTS)
    columns = items_schema(scenario.features).names
    parsed = metadata.batches | "ParseMetadata" >> beam.FlatMap(_parse_metadata, columns).with_outputs(
        "rejects", main="items"
    )
    item_ids = (
        parsed.items
        | "TakeItemIds" >> beam.Map(_distinct_items)
        | "GatherItemIds" >> GatherBatches(ITEM_IDS, _distinct_items)
    )
    known = reviews.batches | "KeepReviewsOfItems" >> beam.Map(_keep_reviews_of, AsSingleton(item_ids))
    rejects = (metadata.rejects, parsed.rejects, reviews.rejects) | "GatherRejects" >> beam.Flatten()
    return parsed.items, known, rejects


def _no_users(pipeline: beam.Pipeline) -> beam.PCollection:
    """The files say nothing about users."""
    return pipeline | "NoUsers" >> beam.Create([]).with_output_types(pa.RecordBatch)


def _parse_metadata(raw: pa.RecordBatch, columns: list[str]) -> Iterator[pa.RecordBatch | TaggedOutput]:
    items, rejects = parse_metadata(raw)
    yield items.select(columns)
    yield from (TaggedOutput("rejects", reject) for reject in rejects)


def _read_queries(path: str) -> Iterator[pa.RecordBatch | TaggedOutput]:
    rows: list[list[str]] = []
    bad: list[tuple[str, str]] = []  # (reason, line)
    with open_raw(path) as stream:
        for line in filter(bytes.strip, stream.read().splitlines()):
            text = line.decode("utf-8", "replace")
            values = text.split("\t")
            if text.encode("utf-8") != line:
                bad.append(("is no UTF-8", text))
            elif len(values) != len(QUERIES_SCHEMA):
                bad.append((f"has {len(values)} columns, not 2 (item, tab, query)", text))
            else:
                rows.append(values)
    count("read/queries", len(rows) + len(bad))
    columns = [pa.array([row[place] for row in rows], pa.string()) for place in range(len(QUERIES_SCHEMA))]
    good, reasons = check_rows(pa.RecordBatch.from_arrays(columns, QUERIES_SCHEMA.names), QUERIES_SCHEMA)
    yield good
    bad += [(reason, "\t".join(rows[row])) for row, reason in reasons.items()]
    yield from (TaggedOutput("rejects", Reject("queries", path, reason, line)) for reason, line in bad)


def _distinct_items(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The ids of a batch's items, sorted."""
    return pa.RecordBatch.from_arrays([pc.unique(batch["item_id"]).sort()], schema=ITEM_IDS)


def _one_query_of_each_item(queries: pa.RecordBatch) -> pa.RecordBatch:
    """Of several queries of one item the first by alphabet, whatever the order of the files."""
    unique = pa.table(queries).group_by("item_id", use_threads=False).aggregate([("query", "min")])
    count("kept/queries", unique.num_rows)
    count("dropped/queries/duplicate", queries.num_rows - unique.num_rows)
    return pa.RecordBatch.from_arrays(
        [unique["item_id"].combine_chunks(), unique["query_min"].combine_chunks()], schema=QUERIES_SCHEMA
    )


def _keep_reviews_of(batch: pa.RecordBatch, items: pa.RecordBatch) -> pa.RecordBatch:
    reviews = batch.rename_columns(REVIEW_COLUMNS)
    known = reviews.filter(pc.is_in(reviews["item_id"], value_set=items["item_id"]))
    count("dropped/reviews/no metadata", reviews.num_rows - known.num_rows)
    return known


def _join_queries(reviews: pa.RecordBatch, queries: pa.RecordBatch) -> pa.RecordBatch:
    """Adds the item's query, empty where it has none."""
    row = pc.index_in(reviews["item_id"], value_set=queries["item_id"])
    return reviews.append_column("query", pc.fill_null(queries["query"].take(row), ""))


def _by_user(reviews: pa.RecordBatch, shards: int) -> Iterator[tuple[int, pa.RecordBatch]]:
    return _by_shard(reviews, reviews["user_id"], shards)


def _by_query(reviews: pa.RecordBatch, shards: int) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Reviews without a query go by their item, so that they do not crowd one shard."""
    has_none = pc.equal(reviews["query"], "")
    return _by_shard(reviews, pc.if_else(has_none, reviews["item_id"], reviews["query"]), shards)


def _by_shard(reviews: pa.RecordBatch, key: pa.Array, shards: int) -> Iterator[tuple[int, pa.RecordBatch]]:
    return split_batch(reviews, mix_hashes(hash_texts(key, seed=0), "shard") % np.uint64(shards))


def _make_last_review_sessions(
    group: tuple[int, dict[str, list[pa.RecordBatch]]], items: pa.RecordBatch, scenario: Scenario
) -> Iterator[pa.RecordBatch | TaggedOutput]:
    reviews = _unique(group[1]["reviews"])
    yield TaggedOutput("events", _purchases(reviews))
    sessions, without = last_review_sessions(reviews, items["item_id"], scenario.pipeline.seed)
    count("read/sessions", sessions.num_rows + without)
    count("dropped/sessions/no candidates", without)
    yield sessions.select(sessions_schema(scenario.features).names)


def _make_query_sessions(
    group: tuple[int, dict[str, list[pa.RecordBatch]]], scenario: Scenario
) -> Iterator[pa.RecordBatch | TaggedOutput]:
    reviews = _unique(group[1]["reviews"])
    yield TaggedOutput("events", _purchases(reviews))
    count("read/sessions", reviews.num_rows)
    searches = reviews.filter(pc.not_equal(reviews["query"], ""))
    count("dropped/sessions/no query", reviews.num_rows - searches.num_rows)
    sessions, without = query_sessions(searches, scenario.pipeline.shown_negatives, scenario.pipeline.seed)
    count("dropped/sessions/no candidates", without)
    yield sessions.select(sessions_schema(scenario.features).names)


def _unique(given: list[pa.RecordBatch]) -> pa.Table:
    reviews = unique_reviews(given)
    count("kept/reviews", reviews.num_rows)
    count("dropped/reviews/duplicate", sum(batch.num_rows for batch in given) - reviews.num_rows)
    count("read/events", reviews.num_rows)
    return reviews


def _purchases(reviews: pa.Table) -> pa.RecordBatch:
    purchase = pa.repeat("purchase", reviews.num_rows)
    return reviews.append_column("action", purchase).select(events_schema().names).combine_chunks().to_batches()[0]
