"""Amazon reviews: fields of all layouts, candidates that know no future, and the files end to end."""

import gzip
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from counters_add_up import assert_adds_up
from hypothesis import given, settings
from hypothesis import strategies as st
from read_rejects import read_rejects
from run_source import rows_of, run_source

from pipeline.config import Scenario
from pipeline.errors import InputError
from pipeline.raw_tables import RawTables, Reject, events_schema, items_schema, sessions_schema
from pipeline.run import preprocess
from pipeline.sampling import hash_texts
from pipeline.scenario_file import load_scenario
from pipeline.sources import amazon
from pipeline.sources import popularity_draw as popularity_draw_module
from pipeline.sources.amazon import REVIEW_COLUMNS, REVIEW_LAYOUTS, read_amazon, read_amazon_search
from pipeline.sources.amazon_metadata import METADATA_LAYOUTS, parse_metadata
from pipeline.sources.amazon_sessions import last_review_sessions, query_sessions, unique_reviews
from pipeline.sources.json_lines import parse_json_lines
from pipeline.sources.popularity_draw import popularity_draw

ROOT = Path(__file__).parent.parent
BEAUTY = ROOT / "../shared/data/amazon2014_beauty"
GIFT_CARDS = ROOT / "../shared/data/amazon2018_gift_cards"
AMAZON = load_scenario(ROOT / "configs" / "amazon.yaml")
AMAZON_SEARCH = load_scenario(ROOT / "configs" / "amazon_search.yaml")


def needs(directory: Path) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not directory.is_dir(), reason=f"needs {directory.relative_to(ROOT)}")


# Metadata


def items_of(*lines: bytes) -> tuple[list[dict[str, Any]], list[Reject]]:
    found: list[dict[str, Any]] = []
    bad: list[Reject] = []
    for line in lines:
        layout = next(layout for layout in METADATA_LAYOUTS if layout.has(line))
        raw, unread = parse_json_lines([line], layout.schema, table="items", file="f", literal_eval=True)
        items, rejects = parse_metadata(raw)
        found += items.to_pylist()
        bad += unread + rejects
    return found, bad


def item_of(**record: Any) -> dict[str, Any]:
    items, rejects = items_of(json.dumps({"asin": "a", **record}).encode())
    assert not rejects, rejects
    return items[0]


def item_of_2023(**record: Any) -> dict[str, Any]:
    items, rejects = items_of(json.dumps({"main_category": "M", "asin": "v", "parent_asin": "p", **record}).encode())
    assert not rejects, rejects
    return items[0]


@pytest.mark.parametrize(
    ("price", "dollars"),
    [
        (5.04, 5.04),
        (7, 7.0),
        (0, 0.0),
        ("$1,250.00", 1250.0),
        ("$10.00 - $25.00", 17.5),
        (" $ 3.99\n", 3.99),
        ("12.50", 12.5),
        ("", math.nan),
        (None, math.nan),
        ("$", math.nan),
        ("$5.00 each", math.nan),
        (".a-box-inner{background-color:#fff}#id .selected{width:160px}", math.nan),
        ('\n\t <div class="a-section">$4.99</div>', math.nan),
        ("from 12.99", 12.99),
        ("—", math.nan),
    ],
)
def test_prices_of_all_layouts(price: Any, dollars: float) -> None:
    for item in (item_of, item_of_2023):
        assert item(price=price)["price"] == pytest.approx(dollars, nan_ok=True)


@pytest.mark.parametrize(
    ("record", "brand"),
    [
        ({"store": "Visit &amp; Store", "details": {"Brand": "B"}}, "Visit & Store"),
        ({"store": None, "details": {"Brand": "B", "Size": {"x": [1]}}}, "B"),
        ({"store": "", "details": {"Size": "L"}}, ""),
        ({"store": None, "details": None}, ""),
        ({}, ""),
    ],
)
def test_the_brand_of_2023_is_the_store_or_what_the_details_say(record: dict[str, Any], brand: str) -> None:
    assert item_of_2023(**record)["brand"] == brand


def test_the_item_of_2023_is_the_parent_and_its_categories_are_one_path() -> None:
    item = item_of_2023(
        categories=["Beauty", "Hair &amp; Scalp", "Combs"], title=" T ", average_rating=4.5, images=[{}]
    )
    assert item | {"price": None} == {
        "item_id": "p", "title": "T", "brand": "", "category": "Beauty > Hair & Scalp > Combs", "price": None,
    }  # fmt: skip
    assert items_of(b'{"main_category": "M", "asin": "v"}')[1][0].reason == "lacks `parent_asin`"


def test_a_missing_price_field_is_a_missing_price() -> None:
    assert math.isnan(item_of(title="t")["price"])


@pytest.mark.parametrize("price", ["-1", "-0.01", "Infinity", "1e300"])
def test_a_negative_or_infinite_price_is_a_reject(price: str) -> None:
    items, rejects = items_of(b'{"asin": "a", "price": %s}' % price.encode(), b'{"asin": "b", "price": 2}')
    assert [item["item_id"] for item in items] == ["b"]
    assert [reject.reason for reject in rejects] == ["`price` is negative or infinite"]
    assert json.loads(rejects[0].line)["asin"] == "a"
    assert (rejects[0].table, rejects[0].file) == ("items", "")


@pytest.mark.parametrize(
    ("record", "category"),
    [
        ({"categories": [["Beauty"], ["Beauty", "Hair", "Combs"], ["Beauty", "Men"]]}, "Beauty > Hair > Combs"),
        ({"categories": [["A", "B"], ["A", "C"]]}, "A > B"),
        ({"category": ["Gift Cards", "Gift Cards"]}, "Gift Cards > Gift Cards"),
        ({"category": ["Toys &amp; Games", "</span></span>", "A toy"]}, "Toys & Games"),
        ({"category": ["Gift Cards", "No expiration, no fees.", "Gifts"]}, "Gift Cards"),
        ({"category": ["Gift Cards", "Made with thick, 100% recycled paper stock, sealed with vinyl"]}, "Gift Cards"),
        ({"category": []}, ""),
        ({"categories": [[]]}, ""),
        ({}, ""),
    ],
)
def test_categories_of_2014_and_2018(record: dict[str, Any], category: str) -> None:
    assert item_of(**record)["category"] == category


def test_texts_lose_escapes_and_superfluous_space() -> None:
    item = item_of(title=" Maggiano&#39;s\n Gift  Card", brand="Crabtree &amp; Evelyn")
    assert (item["title"], item["brand"]) == ("Maggiano's Gift Card", "Crabtree & Evelyn")


def test_python_literals_and_json_give_the_same_items_and_bad_lines_their_reasons() -> None:
    record = {"asin": "a", "title": "It's", "price": 3.5, "categories": [["A", "B"]], "salesRank": {"A": 1}}
    items, rejects = items_of(repr(record).encode(), json.dumps(record).encode(), b"{'asin': ", b'{"title": "t"}')
    assert len(items) == 2
    assert items[0] == items[1] == {"item_id": "a", "title": "It's", "brand": "", "category": "A > B", "price": 3.5}
    assert [reject.reason for reject in rejects] == ["no JSON and no Python literal", "lacks `asin`"]


# The draw of a query's candidates


def draw(time: np.ndarray, item: np.ndarray, size: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    sessions = hash_texts(pa.array([f"s{row}" for row in range(len(time))]), seed)
    items = hash_texts(pa.array([f"i{code}" for code in range(int(item.max()) + 1)]), seed)
    return popularity_draw(time, item, sessions, items, size)


@given(
    events=st.lists(st.tuples(st.integers(0, 8), st.integers(0, 6)), min_size=1, max_size=40),
    size=st.integers(1, 9),
)
@settings(max_examples=150, deadline=None)
def test_all_and_only_items_with_an_event_strictly_before_can_be_drawn(
    events: list[tuple[int, int]], size: int
) -> None:
    time, item = np.array(sorted(events)).T
    drawn, new_item = draw(time, item, size)
    for row in range(len(time)):
        earlier = set(item[time < time[row]].tolist())
        chosen = [int(code) for code in drawn[row] if code >= 0]
        assert set(chosen) <= earlier - {item[row]}, f"row {row} drew {chosen}, earlier are {earlier}"
        assert len(set(chosen)) == len(chosen) == min(size, len(earlier - {item[row]}))
        assert new_item[row] == (item[row] not in earlier)


def test_draws_follow_popularity_as_of_the_session() -> None:
    # Before: items 0 to 4 have 1, 2, 3, 4 and 10 events; afterwards 4,000 sessions buy item 4
    # at one time, and item 0 becomes the most popular, which must not matter.
    before = np.repeat(np.arange(5), [1, 2, 3, 4, 10])
    time = np.repeat([0, 1, 2], [len(before), 4000, 500])
    item = np.concatenate([before, np.full(4000, 4), np.zeros(500, np.int64)])
    drawn, _ = draw(time, item, size=2)
    drawn = drawn[len(before) : len(before) + 4000]
    weight = np.array([1, 2, 3, 4]) / 10
    second = np.array([sum(weight[i] * weight[j] / (1 - weight[i]) for i in range(4) if i != j) for j in range(4)])
    for place, expected in ((0, weight), (1, second)):
        share = np.bincount(drawn[:, place], minlength=5) / 4000
        assert share[4] == 0, "a session drew its own bought item"
        # Four standard deviations of a share of 4,000 draws are at most 0.032.
        np.testing.assert_allclose(share[:4], expected, atol=0.032, err_msg=f"draw {place + 1}")


def test_the_draw_does_not_depend_on_how_many_sessions_are_drawn_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(5)
    time, item = np.sort(random.integers(0, 60, 300)), random.integers(0, 12, 300)
    whole = draw(time, item, size=4)
    monkeypatch.setattr(popularity_draw_module, "_PAIRS", 7 * 12)
    pieces = draw(time, item, size=4)
    np.testing.assert_array_equal(whole[0], pieces[0])
    np.testing.assert_array_equal(whole[1], pieces[1])


def test_another_seed_draws_others() -> None:
    random = np.random.default_rng(5)
    time, item = np.sort(random.integers(0, 60, 300)), random.integers(0, 12, 300)
    assert (draw(time, item, size=4, seed=1)[0] != draw(time, item, size=4, seed=2)[0]).mean() > 0.3


# Sessions of reviews


def random_reviews(seed: int, rows: int = 400) -> list[dict[str, Any]]:
    random = np.random.default_rng(seed)
    item = random.integers(0, 25, rows)
    return [
        {"user_id": f"u{u}", "item_id": f"i{i}", "time": int(t) * 86400, "query": f"q{i % 4}"}
        for u, i, t in zip(random.integers(0, 60, rows), item, random.integers(0, 90, rows), strict=True)
    ]


def reviews_of(rows: list[dict[str, Any]]) -> pa.Table:
    return unique_reviews([pa.RecordBatch.from_pylist(rows)])


def by_id(sessions: pa.RecordBatch) -> dict[str, dict[str, Any]]:
    rows = sessions.to_pylist()
    assert len({row["session_id"] for row in rows}) == len(rows), "two sessions have one id"
    return {row["session_id"]: row for row in rows}


def test_repeated_reviews_count_once_and_come_in_one_order() -> None:
    rows = random_reviews(1)
    shuffled = [rows[i] for i in np.random.default_rng(2).permutation(len(rows))]
    assert reviews_of(rows + rows[:50]).equals(reviews_of(shuffled))


def test_query_sessions_depend_neither_on_order_nor_on_grouping() -> None:
    rows = random_reviews(3)
    together, without = query_sessions(reviews_of(rows), size=3, seed=17)
    apart: dict[str, dict[str, Any]] = {}
    dropped = 0
    for query in ("q2", "q0", "q3", "q1"):
        sessions, missing = query_sessions(reviews_of([r for r in rows[::-1] if r["query"] == query]), size=3, seed=17)
        apart |= by_id(sessions)
        dropped += missing
    assert by_id(together) == apart
    assert dropped == without


def test_a_query_session_is_the_bought_item_and_others_of_its_query_on_sale_by_then() -> None:
    rows = random_reviews(4)
    first_event: dict[str, int] = {}
    for row in sorted(rows, key=lambda row: row["time"]):
        first_event.setdefault(row["item_id"], row["time"])
    unique = {(r["user_id"], r["item_id"], r["time"]) for r in rows}
    sessions, without = query_sessions(reviews_of(rows), size=3, seed=17)
    assert sessions.num_rows + without == len(unique)
    for session in sessions.to_pylist():
        bought, *others = session["candidates"]
        assert session["session_id"] == f"{session['user_id']}-{bought}-{session['time']}"
        assert (session["user_id"], bought, session["time"]) in unique
        assert session["purchased"] == [True] + [False] * len(others)
        assert session["new_item"] == (first_event[bought] == session["time"])
        for other in others:
            assert f"q{int(other[1:]) % 4}" == session["query"], f"{other} is of another query"
            assert first_event[other] < session["time"], f"{other} was not on sale before {session['time']}"


def test_last_review_sessions_hold_the_last_review_and_an_item_never_reviewed() -> None:
    rows = random_reviews(5)
    items = pa.array(sorted({row["item_id"] for row in rows}))
    sessions, without = last_review_sessions(reviews_of(rows), items, seed=17)
    users = {row["user_id"] for row in rows}
    assert without == 0
    assert sorted(sessions["user_id"].to_pylist()) == sorted(users)
    for session in sessions.to_pylist():
        history = [row for row in rows if row["user_id"] == session["user_id"]]
        bought, other = session["candidates"]
        assert session["time"] == max(row["time"] for row in history)
        assert {"user_id": session["user_id"], "item_id": bought, "time": session["time"]}.items() <= next(
            row for row in history if row["item_id"] == bought and row["time"] == session["time"]
        ).items()
        assert other not in {row["item_id"] for row in history}
        assert session["purchased"] == [True, False]


def test_last_review_sessions_depend_neither_on_order_nor_on_grouping() -> None:
    rows = random_reviews(6)
    items = pa.array(sorted({row["item_id"] for row in rows}))
    together, _ = last_review_sessions(reviews_of(rows), items, seed=17)
    apart: dict[str, dict[str, Any]] = {}
    for user in sorted({row["user_id"] for row in rows}, reverse=True):
        sessions, _ = last_review_sessions(reviews_of([r for r in rows[::-1] if r["user_id"] == user]), items, seed=17)
        apart |= by_id(sessions)
    assert by_id(together) == apart


def test_of_several_last_reviews_any_may_be_the_session() -> None:
    rows = [{"user_id": f"u{u}", "item_id": item, "time": 1} for u in range(1000) for item in "abc"]
    sessions, _ = last_review_sessions(reviews_of(rows), pa.array(["a", "b", "c", "d"]), seed=17)
    bought = Counter(candidates[0] for candidates in sessions["candidates"].to_pylist())
    for item in "abc":
        # Four standard deviations of a share of 1,000 draws at 1/3 are 0.06.
        assert bought[item] / 1000 == pytest.approx(1 / 3, abs=0.06), item


def test_the_other_item_is_uniform_over_those_never_reviewed() -> None:
    items = pa.array([f"i{code}" for code in range(6)])
    rows = [{"user_id": f"u{u}", "item_id": f"i{i}", "time": i} for u in range(3000) for i in (1, 4)]
    sessions, _ = last_review_sessions(reviews_of(rows), items, seed=17)
    drawn = Counter(candidates[1] for candidates in sessions["candidates"].to_pylist())
    assert set(drawn) == {"i0", "i2", "i3", "i5"}
    # Four standard deviations of a share of 3,000 draws at 1/4 are 0.032.
    for item, count in drawn.items():
        assert count / 3000 == pytest.approx(0.25, abs=0.032), item


def test_a_user_who_reviewed_everything_has_no_session() -> None:
    rows = [{"user_id": "all", "item_id": item, "time": 1} for item in "abc"]
    rows.append({"user_id": "some", "item_id": "a", "time": 1})
    sessions, without = last_review_sessions(reviews_of(rows), pa.array(["a", "b", "c"]), seed=17)
    assert sessions["user_id"].to_pylist() == ["some"]
    assert without == 1


# Files to raw tables


def write_lines(path: Path, records: Iterable[Any]) -> None:
    lines = "".join((record if isinstance(record, str) else json.dumps(record)) + "\n" for record in records)
    path.write_bytes(gzip.compress(lines.encode()) if path.suffix == ".gz" else lines.encode())


def review(user: str, item: str, day: int) -> dict[str, Any]:
    return {"reviewerID": user, "asin": item, "unixReviewTime": day * 86400, "reviewText": "good"}


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """Items a, b, c of one query and n without a query; metadata in both layouts; some bad lines."""
    directory = tmp_path / "amazon"
    directory.mkdir()
    write_lines(
        directory / "meta_Old.json.gz",
        [
            str({"asin": "a", "title": "Item a", "price": 2.5, "brand": "B", "categories": [["X", "Y"]]}),
            {"asin": "b", "title": "Item b"},
            {"title": "nobody"},
        ],
    )
    write_lines(
        directory / "meta_New.jsonl",
        [
            {"asin": "c", "title": "c &amp; d", "price": "$1,000.00", "brand": "", "category": ["X"]},
            {"asin": "n", "title": "no query", "price": "", "brand": "B", "category": []},
        ],
    )
    write_lines(
        directory / "reviews_5.json.gz",
        [
            review("u", "a", 1),
            review("v", "b", 1),
            review("u", "b", 2),
            review("u", "b", 2),
            review("v", "c", 3),
            review("w", "n", 4),
            review("w", "ghost", 5),
            "not json",
            {"reviewerID": "u", "asin": "a"},
            {"reviewerID": "u", "asin": "a", "unixReviewTime": -5},
        ],
    )
    queries = ["a\tred shoes", "b\tred shoes", "a\tzebra", "", "c\tred shoes", "lonely", "d\t"]
    (directory / "queries_Old.tsv").write_bytes("\n".join(queries).encode() + b"\r\ne\tshoe \xff\n")
    return directory


TINY_REASONS = {
    ("items", "lacks `asin`"): 1,
    ("reviews", "no JSON"): 1,
    ("reviews", "lacks `unixReviewTime`"): 1,
    ("reviews", "`unixReviewTime` is before 1970 or after 2100 (in seconds)"): 1,
}
TINY_EVENTS = {("u", "a", 1), ("v", "b", 1), ("u", "b", 2), ("v", "c", 3), ("w", "n", 4)}


def check_items_and_events(elements: dict[str, list[Any]], scenario: Scenario) -> None:
    items = {row["item_id"]: row for row in rows_of(elements["items"], items_schema(scenario.features))}
    assert set(items) == {"a", "b", "c", "n"}
    assert items["a"] == {"item_id": "a", "title": "Item a", "brand": "B", "category": "X > Y", "price": 2.5}
    assert (items["c"]["title"], items["c"]["price"]) == ("c & d", 1000.0)
    events = rows_of(elements["events"], events_schema())
    assert {event["action"] for event in events} == {"purchase"}
    found = [(event["user_id"], event["item_id"], event["time"] // 86400) for event in events]
    assert sorted(found) == sorted(TINY_EVENTS)
    assert elements["users"] == []


def test_amazon_search_reads_tiny_files_exactly(tiny: Path, tmp_path: Path) -> None:
    elements, counters = run_source(read_amazon_search, tiny, AMAZON_SEARCH, tmp_path / "out")
    check_items_and_events(elements, AMAZON_SEARCH)
    sessions = {
        row["session_id"]: row for row in rows_of(elements["sessions"], sessions_schema(AMAZON_SEARCH.features))
    }
    day = 86400
    # The two first reviews have nothing before them; n has no query.
    assert set(sessions) == {f"u-b-{2 * day}", f"v-c-{3 * day}"}
    assert sessions[f"u-b-{2 * day}"] == {
        "session_id": f"u-b-{2 * day}",
        "user_id": "u",
        "time": 2 * day,
        "query": "red shoes",
        "candidates": ["b", "a"],
        "clicked": [False, False],
        "purchased": [True, False],
        "new_item": False,
    }
    last = sessions[f"v-c-{3 * day}"]
    assert last["candidates"][0] == "c"
    assert sorted(last["candidates"][1:]) == ["a", "b"]
    assert last["new_item"] is True
    reasons = Counter((reject.table, reject.reason) for reject in elements["rejects"])
    assert reasons == TINY_REASONS | {
        ("queries", "has 1 columns, not 2 (item, tab, query)"): 1,
        ("queries", "`query` is empty"): 1,
        ("queries", "is no UTF-8"): 1,
    }
    assert counters == {
        "read/items": 5,
        "read/reviews": 10,
        "kept/reviews": 5,
        "read/queries": 7,
        "kept/queries": 3,
        "read/events": 5,
        "read/sessions": 5,
        "dropped/queries/duplicate": 1,
        "dropped/reviews/duplicate": 1,
        "dropped/reviews/no metadata": 1,
        "dropped/sessions/no query": 1,
        "dropped/sessions/no candidates": 2,
    }


def test_amazon_reads_tiny_files_exactly(tiny: Path, tmp_path: Path) -> None:
    elements, counters = run_source(read_amazon, tiny, AMAZON, tmp_path / "out")
    check_items_and_events(elements, AMAZON)
    sessions = {row["user_id"]: row for row in rows_of(elements["sessions"], sessions_schema(AMAZON.features))}
    assert {user: row["candidates"][0] for user, row in sessions.items()} == {"u": "b", "v": "c", "w": "n"}
    assert sessions["u"]["candidates"][1] in {"c", "n"}
    assert sessions["v"]["candidates"][1] in {"a", "n"}
    assert sessions["w"]["candidates"][1] in {"a", "b", "c"}
    assert not any(row["new_item"] for row in sessions.values())
    assert Counter((reject.table, reject.reason) for reject in elements["rejects"]) == TINY_REASONS
    assert counters == {
        "read/items": 5,
        "read/reviews": 10,
        "kept/reviews": 5,
        "read/events": 5,
        "read/sessions": 3,
        "dropped/reviews/duplicate": 1,
        "dropped/reviews/no metadata": 1,
    }


#: The same items and reviews in each release's words: category path, price, brand.
CONTENT_ITEMS = [
    ("a", ["X", "Y"], 2.5, "B"),
    ("b", ["X"], 1000.0, ""),
    ("c", ["X", "Y"], None, "C & D"),
]
CONTENT_REVIEWS = [(f"u{n % 7}", "abcabb"[(n % 7 + n // 7 % 2) % 6], n // 3) for n in range(60)]
RELEASES: dict[int, tuple[Callable[..., Any], Callable[..., Any], str, str]] = {
    2014: (
        lambda item, path, price, brand: str(
            {"asin": item, "categories": [["X"], path], "brand": brand} | ({} if price is None else {"price": price})
        ),
        lambda user, item, day: {
            "reviewerID": user, "asin": item, "unixReviewTime": day * 86400, "text": 'no "user_id"',
        },
        "meta_Beauty.json.gz",
        "reviews_Beauty_5.json.gz",
    ),
    2018: (
        lambda item, path, price, brand: {
            "asin": item, "category": path, "brand": brand.replace("&", "&amp;"), "main_cat": "M",
            "price": f"${price:,.2f}" if price else "",
        },
        lambda user, item, day: {
            "reviewerID": user, "asin": item, "unixReviewTime": day * 86400, "text": 'no "parent_asin"',
        },
        "meta_Beauty.json",
        "Beauty_5.json",
    ),
    2023: (
        lambda item, path, price, brand: {
            "main_category": "M", "store": brand or None, "categories": path,
            "price": price if price != 1000.0 else "from 1,000.00",
            "details": {"Brand": None}, "parent_asin": item, "images": [{"thumb": "t"}], "rating_number": 3,
        },
        lambda user, item, day: {
            "rating": 5.0, "text": 'a "user_id" in quotes', "asin": f"{item}-red", "parent_asin": item, "user_id": user,
            "timestamp": day * 86_400_000 + 999, "verified_purchase": True,
        },
        "meta_Beauty.jsonl.gz",
        "Beauty.jsonl.gz",
    ),
}  # fmt: skip


def write_release(directory: Path, release: int, bad: Iterable[Any] = ()) -> Path:
    item, review, metadata_file, reviews_file = RELEASES[release]
    directory.mkdir()
    write_lines(directory / metadata_file, [item(*row) for row in CONTENT_ITEMS])
    write_lines(directory / reviews_file, [*(review(*row) for row in CONTENT_REVIEWS), *bad])
    (directory / "queries_Beauty.tsv").write_text("a\tshoes\nb\tshoes\nc\tshoes\n")
    return directory


@pytest.mark.parametrize("read", [read_amazon, read_amazon_search])
def test_all_releases_give_the_same_tables(tmp_path: Path, read: Callable[..., RawTables]) -> None:
    scenario = AMAZON if read is read_amazon else AMAZON_SEARCH
    found = {}
    for release in RELEASES:
        log = write_release(tmp_path / f"log{release}", release)
        elements, counters = run_source(read, log, scenario, tmp_path / f"out{release}")
        tables = {
            table: sorted(repr(row) for batch in elements[table] for row in (batch.to_pylist()))
            for table in ("items", "events", "sessions")
        }
        assert elements["rejects"] == []
        assert len(tables["events"]) == 60
        found[release] = tables, counters
    assert found[2014] == found[2018] == found[2023]
    assert len(found[2023][0]["sessions"]) > 5
    assert "'price': 1000.0" in found[2023][0]["items"][1]


def test_bad_lines_of_2023_are_rejects_and_the_counters_add_up(tmp_path: Path) -> None:
    good = RELEASES[2023][1]("u1", "a", 70)
    bad = [
        good | {"timestamp": "soon"},
        good | {"timestamp": 4_133_980_800_000},
        {name: value for name, value in good.items() if name != "parent_asin"},
        {name: value for name, value in good.items() if name != "user_id"},
        good | {"user_id": ["u"]},
        '{"user_id": "u1", "parent_asin"',
        good,
        RELEASES[2014][1]("u1", "b", 71),  # releases may even be mixed in one file
    ]
    log = write_release(tmp_path / "log", 2023, bad)
    scenario = load_scenario(ROOT / "configs" / "amazon_search.yaml", ["pipeline.max_reject_share=1"])
    counters = preprocess(scenario, str(log), str(tmp_path / "out"))["runs"][0]["counters"]
    rejects = read_rejects(tmp_path / "out", "reviews")
    assert Counter(reject["reason"] for reject in rejects) == {
        "`timestamp` is no time": 1,
        "`timestamp` is before 1970 or after 2100 (in milliseconds)": 1,
        "lacks `parent_asin`": 1,
        "lacks `user_id`": 1,
        "`user_id` is a list, not text": 1,
        "no JSON": 1,
    }
    assert {reject["file"] for reject in rejects} == {str(log / "Beauty.jsonl.gz")}
    assert counters["read/reviews"] == 68
    assert counters["kept/reviews"] == 62
    assert_adds_up(counters)


@pytest.mark.parametrize(
    ("reviews", "message"),
    [
        (
            [review("u", "ghost", 1), review("v", "ghost", 2)],
            "has no usable sessions; left out: reviews: no metadata (2)",
        ),
        (
            ["not json", {"asin": "a"}],
            "has no usable sessions; left out: reviews: lacks `reviewerID` (1), reviews: no JSON (1)",
        ),
        ([review("u", "n", 1)], "has no usable sessions; left out: sessions: no query (1)"),
        ([], "has no sessions; the log is empty"),
    ],
    ids=["unknown items", "bad lines", "no query", "none"],
)
def test_reviews_that_leave_no_session_are_one_clear_line(
    tiny: Path, tmp_path: Path, reviews: list[Any], message: str
) -> None:
    write_lines(tiny / "reviews_5.json.gz", reviews)
    scenario = load_scenario(ROOT / "configs" / "amazon_search.yaml", ["pipeline.max_reject_share=1"])
    with pytest.raises(InputError, match=re.escape(f"{tiny}: {message}; the rejected rows are in")):
        preprocess(scenario, str(tiny), str(tmp_path / "out"))


def test_counters_of_a_whole_run_add_up(tiny: Path, tmp_path: Path) -> None:
    more = [review(f"r{n}", "abcn"[n % 4], 6 + n) for n in range(80)]
    write_lines(tiny / "more_reviews.json", [*more, more[0]])
    scenario = load_scenario(ROOT / "configs" / "amazon_search.yaml", ["pipeline.max_reject_share=1"])
    counters = preprocess(scenario, str(tiny), str(tmp_path / "out"))["runs"][0]["counters"]
    assert {name for name in counters if name.startswith("read/")} == {
        f"read/{table}" for table in ("events", "items", "queries", "reviews", "sessions")
    }
    assert_adds_up(counters)


def test_broken_lines_among_good_ones_lose_no_good_one(tiny: Path, tmp_path: Path) -> None:
    """The good lines of `tiny` in every file, each between lines that are broken."""
    whole, counts = run_source(read_amazon_search, tiny, AMAZON_SEARCH, tmp_path / "whole")
    junk = [
        b"{",
        b"\0",
        b"\xff\xfe",
        b"[1]",
        b'{"asin": ["a"]}',
        b'{"user_id": 1e400}',
        b"\ta\t",
        b"9" * 5000,
        b"(" * 300,
    ]
    for path in tiny.iterdir():
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        mixed = b"".join(
            b"\r\n" + line + b"\r\n \n" + junk[n % len(junk)] + b"\n" for n, line in enumerate(content.split(b"\n"))
        )
        path.write_bytes(gzip.compress(mixed) if path.suffix == ".gz" else mixed)
    broken, broken_counts = run_source(read_amazon_search, tiny, AMAZON_SEARCH, tmp_path / "broken")
    for table in ("items", "events", "sessions"):
        rows = [
            sorted(repr(row) for batch in elements[table] for row in batch.to_pylist()) for elements in (whole, broken)
        ]
        assert rows[0] == rows[1], table
    for table in ("items", "reviews", "queries"):
        rejected = sum(reject.table == table for reject in broken["rejects"])
        more = rejected - sum(reject.table == table for reject in whole["rejects"])
        assert broken_counts[f"read/{table}"] == counts[f"read/{table}"] + more
        assert more >= 4


@given(
    lines=st.lists(
        st.sampled_from(
            [
                b"a\tred",
                b"b\tblue",
                b"a\t",
                b" ",
                b"\t",
                b"\tred",
                b"a",
                b"a\tb\tc",
                b"\xff\tq",
                b"\0\t\0",
                b"\xe2\x80\xa8\tq",
            ]
        )
        | st.binary(max_size=8).filter(lambda line: b"\n" not in line and b"\r" not in line),
        max_size=8,
    ),
    end=st.sampled_from([b"\n", b"\r\n"]),
)
def test_each_line_of_queries_is_a_row_or_a_reject(
    lines: list[bytes], end: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "queries_Fuzz.tsv"
    path.write_bytes(end.join(lines))
    batch, *rejects = amazon._read_queries(str(path))
    assert isinstance(batch, pa.RecordBatch)
    read = [line for line in lines if line.strip()]
    assert batch.num_rows + len(rejects) == len(read)
    good = {"a\tred", "b\tblue"}
    assert [line for line in read if line.decode("utf-8", "replace") in good] == [
        f"{row['item_id']}\t{row['query']}".encode()
        for row in batch.to_pylist()
        if f"{row['item_id']}\t{row['query']}" in good
    ]


def test_a_queries_file_that_was_cut_off_is_an_error(tiny: Path, tmp_path: Path) -> None:
    (tiny / "queries_Old.tsv.gz").write_bytes(gzip.compress((tiny / "queries_Old.tsv").read_bytes())[:-9])
    with pytest.raises(InputError, match=r"queries_Old.tsv.gz: cannot be read, is it damaged\?"):
        preprocess(AMAZON_SEARCH, str(tiny), str(tmp_path / "out"))


@pytest.mark.parametrize(
    ("removed", "message"),
    [
        ("meta_*", r"has no metadata, as meta_\*\.json"),
        ("reviews_*", r"has no reviews, as \*\.json"),
        ("queries_*", r"has no queries \(item, tab, query\), as queries_\*\.tsv"),
    ],
)
def test_a_missing_file_is_named(tiny: Path, removed: str, message: str) -> None:
    for path in tiny.glob(removed):
        path.unlink()
    with pytest.raises(InputError, match=message) as caught:
        read_amazon_search(beam.Pipeline(runner=FnApiRunner()), str(tiny), AMAZON_SEARCH)
    assert str(tiny) in str(caught.value)


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere: no such directory"):
        read_amazon(beam.Pipeline(runner=FnApiRunner()), str(tmp_path / "nowhere"), AMAZON)


@pytest.mark.parametrize(
    ("read", "config", "overrides", "message"),
    [
        (
            read_amazon,
            "amazon",
            ["features.tables.shop={}", "features.item.shop={kind: categorical, table: shop}"],
            r"features.item.shop: reads `shop` as string; the columns .* item_id \(string\), .* price \(float\)",
        ),
        (
            read_amazon,
            "amazon",
            ["features.tables.term={}", "features.query.query={kind: categorical, table: term}"],
            r"features.query.query: reads `query` as string; the columns that this source has for `query`: none",
        ),
        (
            read_amazon_search,
            "amazon_search",
            ["features.user.age={kind: numeric}"],
            r"features.user.age: reads `age` as float32; the columns .* `user`: none",
        ),
        (
            read_amazon_search,
            "amazon_search",
            ["features.item.price.optional=false"],
            r"features.item.price: `price` is missing in some rows of this source; add `optional: true`",
        ),
    ],
)
def test_a_feature_that_the_files_cannot_give_is_named(
    tiny: Path, read: Callable[..., RawTables], config: str, overrides: list[str], message: str
) -> None:
    scenario = load_scenario(ROOT / "configs" / f"{config}.yaml", overrides)
    with pytest.raises(InputError, match=message):
        read(beam.Pipeline(runner=FnApiRunner()), str(tiny), scenario)


# The official files


@needs(GIFT_CARDS)
def test_the_2018_gift_cards(tmp_path: Path) -> None:
    elements, counters = run_source(read_amazon, GIFT_CARDS, AMAZON, tmp_path)
    items = {row["item_id"]: row for row in rows_of(elements["items"], items_schema(AMAZON.features))}
    assert not elements["rejects"]
    assert (len(items), counters["read/reviews"], counters["dropped/reviews/duplicate"]) == (1547, 2972, 3)
    assert items["B001H53QE4"]["price"] == 1250.0
    assert items["B001BKEWF2"]["brand"] == "Serendipity 3"
    assert {row["category"] for row in items.values()} == {
        "",
        "Gift Cards > Gift Cards",
        "Gift Cards > Gift Card Accessories",
    }
    texts = [row[column] for row in items.values() for column in ("title", "brand")]
    assert not [text for text in texts if "&#" in text or "&amp;" in text or text != " ".join(text.split())]
    sessions = rows_of(elements["sessions"], sessions_schema(AMAZON.features))
    assert len(sessions) == 458
    assert {len(session["candidates"]) for session in sessions} == {2}


@needs(BEAUTY)
def test_no_candidate_of_beauty_knows_the_future() -> None:
    with gzip.open(BEAUTY / "queries_Beauty.tsv.gz", "rt", encoding="utf-8") as lines:
        query_of = dict(line.rstrip("\n").split("\t") for line in lines)
    with gzip.open(BEAUTY / "reviews_Beauty_5.json.gz") as lines:
        batch, rejects = parse_json_lines(
            lines.read().splitlines(), REVIEW_LAYOUTS[-1].schema, table="reviews", file="reviews_Beauty_5.json.gz"
        )
    assert (batch.num_rows, rejects) == (198_502, [])
    batch = batch.rename_columns(REVIEW_COLUMNS)
    queries = sorted(set(query_of.values()))[::12]
    batch = batch.append_column("query", pa.array([query_of[item] for item in batch["item_id"].to_pylist()]))
    batch = batch.filter(pc.is_in(batch["query"], value_set=pa.array(queries)))
    sessions, without = query_sessions(unique_reviews([batch]), size=10, seed=17)
    assert sessions.num_rows + without == batch.num_rows > 5_000

    first = pa.table(batch).group_by("item_id").aggregate([("time", "min")])
    lengths = pc.list_value_length(sessions["candidates"]).to_numpy()
    bought_at = np.cumsum(lengths) - lengths
    candidates = sessions["candidates"].flatten()
    on_sale = first["time_min"].take(pc.index_in(candidates, value_set=first["item_id"])).to_numpy()
    is_other = np.ones(len(candidates), np.bool_)
    is_other[bought_at] = False
    time = np.repeat(sessions["time"].to_numpy(), lengths)
    assert (on_sale[is_other] < time[is_other]).all()
    new_item = sessions["new_item"].to_numpy(zero_copy_only=False)
    np.testing.assert_array_equal(new_item, on_sale[bought_at] == sessions["time"].to_numpy())
