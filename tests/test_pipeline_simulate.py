import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import simulate as simulate_module
from pipeline.errors import InputError
from pipeline.simulate import TRUTH, SimulationSummary, simulate
from pipeline.simulator.choice import COEFFICIENTS, Behaviors, utility, visible_behaviors
from pipeline.simulator.users import KINDS, draw_users
from pipeline.simulator.visits import FEWEST_CANDIDATES, MOST_CANDIDATES
from pipeline.simulator.world import DAY, HISTORY_START, MODIFIERS, PERIOD_START, build_world

SMALL: dict[str, Any] = {"users": 60, "items": 400, "days": 10, "seed": 3}
DAYS = 30
_CANDIDATE: dict[str, pa.DataType] = {"item_id": pa.string(), "clicked": pa.bool_(), "purchased": pa.bool_()}


@dataclass(frozen=True)
class Log:
    """A simulated log as lists of rows."""

    summary: SimulationSummary
    items: dict[str, dict[str, Any]]
    users: list[dict[str, Any]]
    events: list[dict[str, Any]]
    sessions: list[dict[str, Any]]
    truth: list[dict[str, Any]]


def _read(directory: Path, table: str) -> pa.Table:
    return pa.concat_tables([pq.read_table(path) for path in sorted(directory.glob(f"{table}*.parquet"))])


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Log:
    directory = tmp_path_factory.mktemp("simulated") / "log"
    summary = simulate(directory, users=1_200, items=1_000, days=DAYS)
    tables = {name: _read(directory, name).to_pylist() for name in ("items", "users", "events", "sessions", "truth")}
    return Log(summary, {item["item_id"]: item for item in tables.pop("items")}, **tables)


@dataclass(frozen=True)
class Shown:
    """Shown candidates as columns, with what the log itself says about them as of the session."""

    old: np.ndarray
    popularity: np.ndarray
    same_brand: np.ndarray
    price: np.ndarray
    session: np.ndarray
    probability: np.ndarray


@pytest.fixture(scope="module")
def shown(log: Log) -> Shown:
    """Replays the log in time order: an oracle that shares no code with the simulator."""
    purchases: dict[str, int] = dict.fromkeys(log.items, 0)
    history: dict[str, list[dict[str, Any]]] = {}
    events = iter([*log.events, {"time": np.inf}])
    event = next(events)
    rows = []
    truth = iter(log.truth)
    for number, session in enumerate(log.sessions):
        while event["time"] < session["time"]:
            history.setdefault(event["user_id"], []).append(event)
            purchases[event["item_id"]] += event["action"] == "purchase"
            event = next(events)
        seen = [
            log.items[e["item_id"]]
            for e in history.get(session["user_id"], [])
            if session["time"] - e["time"] <= DAY * (365 if e["action"] == "purchase" else 7)
        ]
        old = any(item["category"] == session["query_category"] for item in seen)
        for candidate in session["candidates"]:
            item = log.items[candidate["item_id"]]
            same_brand = sum(other["brand"] == item["brand"] for other in seen)
            probability = next(truth)["probability"]
            popularity = np.log1p(purchases[item["item_id"]])
            rows.append((old, popularity, np.log1p(same_brand), np.log(item["price"]), number, probability))
    return Shown(*(np.array(column) for column in zip(*rows, strict=True)))


def _correlation(shown: Shown, values: np.ndarray, where: np.ndarray) -> float:
    """Of the values with the true utility, both less their session's mean."""
    _, session = np.unique(shown.session[where], return_inverse=True)
    odds = shown.probability[where] / (1 - shown.probability[where])
    centred = []
    for column in (values[where], np.log(odds)):
        centred.append(column - (np.bincount(session, column) / np.bincount(session))[session])
    return float(np.corrcoef(*centred)[0, 1])


def test_same_arguments_write_the_same_bytes_in_every_format(tmp_path: Path) -> None:
    for file_format in ("jsonl", "jsonl.gz", "parquet"):
        first, second = tmp_path / f"1.{file_format}", tmp_path / f"2.{file_format}"
        for directory in (first, second):
            simulate(directory, **SMALL, file_format=file_format)
        names = sorted(path.name for path in first.iterdir())
        assert names == sorted(
            [
                f"items.{file_format}",
                *(f"{table}-00000-of-00001.{file_format}" for table in ("events", "sessions", "users")),
                TRUTH,
            ]
        )
        for name in names:
            assert (first / name).read_bytes() == (second / name).read_bytes(), f"{name} differs between two runs"


def test_seed_changes_the_log(tmp_path: Path) -> None:
    for seed in (1, 2):
        simulate(tmp_path / str(seed), **{**SMALL, "seed": seed})
    for table in ("items", "events", "sessions"):
        assert not _read(tmp_path / "1", table).equals(_read(tmp_path / "2", table)), f"{table}: the seed has no effect"


def test_formats_hold_the_same_rows(tmp_path: Path) -> None:
    for file_format in ("jsonl", "jsonl.gz", "parquet"):
        simulate(tmp_path / file_format, **SMALL, file_format=file_format)
    for table in ("items", "users", "events", "sessions"):
        expected = _read(tmp_path / "parquet", table).to_pylist()
        for file_format in ("jsonl", "jsonl.gz"):
            (path,) = (tmp_path / file_format).glob(f"{table}*")
            with pa.input_stream(str(path)) as stream:  # unpacks .gz
                assert [json.loads(line) for line in stream.read().splitlines()] == expected, f"{path.name} differs"


def test_layout(tmp_path: Path) -> None:
    simulate(tmp_path, **SMALL)
    string, integer = pa.string(), pa.int64()
    candidate = pa.struct([pa.field(name, kind) for name, kind in _CANDIDATE.items()])
    wanted: dict[str, dict[str, pa.DataType]] = {
        "items": {"item_id": string, "title": string, "brand": string, "shop": string, "category": string,
                  "price": pa.float64(), "listed": integer},
        "users": {"user_id": string, "age_group": string},
        "events": {"user_id": string, "item_id": string, "action": string, "time": integer},
        "sessions": {"session_id": string, "user_id": string, "time": integer, "query": string,
                     "query_category": string, "candidates": pa.list_(candidate)},
        "truth": {"session_id": string, "item_id": string, "probability": pa.float64()},
    }  # fmt: skip
    for table, columns in wanted.items():
        assert _read(tmp_path, table).schema.equals(pa.schema(columns)), f"{table}: {_read(tmp_path, table).schema}"


def test_summary_counts_what_was_written(log: Log) -> None:
    bought = [sum(c["purchased"] for c in session["candidates"]) for session in log.sessions]
    assert log.summary == SimulationSummary(
        users=len(log.users),
        items=len(log.items),
        events=len(log.events),
        sessions=len(log.sessions),
        purchases=sum(bought),
        users_without_events=len(log.users) - len({e["user_id"] for e in log.events}),
        sessions_without_purchase=bought.count(0),
    )
    assert log.summary.purchases_per_session == pytest.approx(np.mean(bought))
    assert 0.5 < log.summary.purchases_per_session < 1.6
    assert f"{len(log.sessions):,} sessions with {np.mean(bought):.2f} purchases each" in str(log.summary)
    assert log.summary.share_of_sessions_without_purchase < 0.42
    assert 0 < log.summary.share_of_users_without_events < 0.1


def test_ids_are_unique_and_known(log: Log) -> None:
    users = {user["user_id"] for user in log.users}
    assert len(users) == len(log.users) == 1_200
    assert len({session["session_id"] for session in log.sessions}) == len(log.sessions)
    assert {session["user_id"] for session in log.sessions} == users, "every user has a logged session"
    assert {event["user_id"] for event in log.events} <= users
    assert {event["item_id"] for event in log.events} <= set(log.items)


def test_times_rise_and_fall_in_their_period(log: Log) -> None:
    for table in (log.events, log.sessions):
        times = [row["time"] for row in table]
        assert times == sorted(times), "a file is in time order"
    end = PERIOD_START + DAYS * DAY
    assert all(PERIOD_START <= session["time"] < end for session in log.sessions)
    assert all(HISTORY_START < event["time"] < end + 1_800 for event in log.events)
    assert log.events[0]["time"] < HISTORY_START + 20 * DAY, "history reaches back a year"
    latest: dict[str, int] = {}
    for session in log.sessions:
        assert session["time"] > latest.get(session["user_id"], 0), f"{session['session_id']} repeats a time"
        latest[session["user_id"]] = session["time"]


def test_clicks_and_purchases_of_a_session_are_events_after_it(log: Log) -> None:
    """And before the user's next session; events of the logged period have no other origin."""
    logged: dict[str, list[tuple[int, str, str]]] = {}
    for event in log.events:
        logged.setdefault(event["user_id"], []).append((event["time"], event["item_id"], event["action"]))
    sessions: dict[str, list[dict[str, Any]]] = {}
    for session in log.sessions:
        sessions.setdefault(session["user_id"], []).append(session)
    for user, own in sessions.items():
        for session, following in zip(own, [*own[1:], {"time": np.inf}], strict=True):
            expected = {(c["item_id"], "click") for c in session["candidates"] if c["clicked"]}
            expected |= {(c["item_id"], "purchase") for c in session["candidates"] if c["purchased"]}
            between = [e for e in logged.get(user, []) if session["time"] <= e[0] < following["time"]]
            assert {(item, action) for _, item, action in between} == expected, session["session_id"]
            assert len(between) == len(expected), "an event is written once"
            assert all(session["time"] < time <= session["time"] + 1_500 for time, _, _ in between)


def test_candidates_are_distinct_and_on_sale_in_the_category(log: Log) -> None:
    for session in log.sessions:
        items = [log.items[candidate["item_id"]] for candidate in session["candidates"]]
        assert {item["category"] for item in items} == {session["query_category"]}
        assert len({item["item_id"] for item in items}) == len(items) <= MOST_CANDIDATES
        assert all(item["listed"] <= session["time"] for item in items)
        assert 2 <= len(session["query"].split()) <= 4
        assert all(c["clicked"] or not c["purchased"] for c in session["candidates"]), "bought implies clicked"
    shown = np.array([len(session["candidates"]) for session in log.sessions])
    assert shown.min() >= FEWEST_CANDIDATES
    assert shown.mean() == pytest.approx((FEWEST_CANDIDATES + MOST_CANDIDATES) / 2, abs=0.5)


def test_truth_is_the_probability_behind_the_purchases(log: Log) -> None:
    candidates = [(s["session_id"], c) for s in log.sessions for c in s["candidates"]]
    expected = [(session_id, c["item_id"]) for session_id, c in candidates]
    assert [(row["session_id"], row["item_id"]) for row in log.truth] == expected
    probability = np.array([row["probability"] for row in log.truth])
    purchased = np.array([c["purchased"] for _, c in candidates])
    assert ((probability > 0) & (probability < 1)).all()
    for low, high in ((0, 0.02), (0.02, 0.1), (0.1, 0.4), (0.4, 1)):
        within = (probability >= low) & (probability < high)
        error = np.sqrt((probability * (1 - probability))[within].sum())
        assert abs((purchased - probability)[within].sum()) < 4 * error, f"purchases do not follow p in [{low}, {high})"


def test_new_users_follow_the_crowd_and_old_ones_their_own_behaviours(shown: Shown) -> None:
    """The paper's Figure 2, seen from the log alone."""
    old = shown.old.astype(bool)
    assert 0.2 < old.mean() < 0.8
    crowd = {name: _correlation(shown, shown.popularity, where) for name, where in (("new", ~old), ("old", old))}
    assert crowd["new"] > crowd["old"] + 0.15, crowd
    brand = {name: _correlation(shown, shown.same_brand, where) for name, where in (("new", ~old), ("old", old))}
    assert brand["old"] > brand["new"] + 0.15, brand
    assert _correlation(shown, -shown.price, ~old) > 0.2, "new users like it cheap"


def test_price_words_of_the_query_shift_the_price(log: Log, shown: Shown) -> None:
    first_word = np.array([log.sessions[number]["query"].split()[0] for number in shown.session])
    cheap = _correlation(shown, shown.price, first_word == "cheap")
    premium = _correlation(shown, shown.price, first_word == "premium")
    assert cheap < -0.5 < premium - 0.5, (cheap, premium)


def test_activity_has_a_heavy_tail_and_the_elderly_visit_less() -> None:
    users = draw_users(0, 20_000, 60, np.random.default_rng(0))
    assert 0.28 < (users.visits <= 2).mean() < 0.42
    assert 3 <= np.median(users.visits) <= 6
    assert users.visits.max() > 200
    assert users.visits[users.age_group == 4].mean() < 0.6 * users.visits[users.age_group == 1].mean()


@pytest.mark.parametrize("days", [1, 2])
def test_short_periods_hold_even_the_most_active(days: int) -> None:
    users = draw_users(0, 3_000, days, np.random.default_rng(0))
    assert users.times.max() < PERIOD_START + days * DAY
    assert (users.times[users.first_visit + users.visits - 1] >= PERIOD_START).all(), "the last visit is logged"
    same_user = np.ones(len(users.times) - 1, bool)
    same_user[users.first_visit[1:] - 1] = False
    assert np.diff(users.times)[same_user].min() >= 1_800


class TestUtility:
    """One session against arithmetic: an item that the user may have met, beside one of another brand and shop."""

    WORLD = build_world(400, 1, np.random.default_rng(1))
    USERS = draw_users(0, 1, 1, np.random.default_rng(2))
    ITEMS = np.array([0, np.flatnonzero((WORLD.brand != WORLD.brand[0]) & (WORLD.shop != WORLD.shop[0]))[0]])

    def _utility(self, kind: int, click_days: float | None, purchase_days: float | None) -> np.ndarray:
        """Less the kind's liking; the first item was clicked and bought so many days ago."""
        ages = np.array([[np.nan if days is None else days for days in (click_days, purchase_days)]])
        met, time = np.where(np.isnan(ages), -1, 0), PERIOD_START - np.round(np.nan_to_num(ages) * DAY)
        behaviors = visible_behaviors(met, time.astype(np.int64), np.array([True, False]), np.array([PERIOD_START]))
        users, zero = replace(self.USERS, kind=np.array([kind])), np.array([0])
        world, c = self.WORLD, COEFFICIENTS
        liking = (
            c.like_popular[kind] * world.attractiveness
            - c.like_cheap[kind] * world.relative_price
            + c.like_prestige[kind] * world.brand_prestige[world.brand]
            + c.like_reach[kind] * world.shop_reach[world.shop]
        )
        return utility(world, users, self.ITEMS[None], zero, zero, behaviors)[0] - liking[self.ITEMS]

    @pytest.mark.parametrize("days", [(None, None), (7.5, None), (None, 366.0), (0.0, 0.0), (-1.0, -1.0)])
    def test_without_visible_behaviours_popularity_and_price_decide(self, days: tuple[Any, Any]) -> None:
        c, world = COEFFICIENTS, self.WORLD
        price = (c.new_price + c.new_price_taste * self.USERS.price_taste[0]) * world.relative_price[self.ITEMS]
        expected = c.new_popularity * world.attractiveness[self.ITEMS] + price - c.new_offset
        np.testing.assert_allclose(self._utility(1, *days), expected, atol=1e-12)

    @pytest.mark.parametrize("kind", range(len(KINDS)))
    def test_with_a_click_and_a_purchase_the_affinities_decide(self, kind: int) -> None:
        c, price = COEFFICIENTS, self.WORLD.relative_price[self.ITEMS]
        crowd = c.old_popularity * self.WORLD.attractiveness[self.ITEMS] + c.old_price[kind] * price
        away = c.old_price_distance[kind] * np.abs(price - price[0])
        same = (c.old_brand[kind] + c.old_shop[kind]) * (1 - np.exp(-2 / 2))
        again = c.old_item_purchases[kind] * (1 - np.exp(-1 / 2)) + c.old_item_click[kind] * np.exp(-2.0 / 2)
        expected = crowd + away - c.old_offset[kind] + [same + again, 0]
        np.testing.assert_allclose(self._utility(kind, 2.0, 100.0), expected, atol=1e-12)

    def test_explorers_avoid_what_they_bought(self) -> None:
        explorer = KINDS.index("explorer")
        assert self._utility(explorer, None, 30.0)[0] < self._utility(explorer, 1.0, None)[0] - 1

    def test_a_modifier_adds_its_terms_and_an_invisible_behaviour_nothing(self) -> None:
        candidates, none = np.arange(8)[None], np.zeros((1, 3), bool)
        results = []
        for item, modifier in ((0, 0), (7, 0), (0, 1)):
            behaviors = Behaviors(np.full((1, 3), item), np.ones((1, 3)), none, np.zeros(3, bool))
            results.append(utility(self.WORLD, self.USERS, candidates, np.array([0]), np.array([modifier]), behaviors))
        np.testing.assert_array_equal(results[0], results[1])
        shift = MODIFIERS[1].price * self.WORLD.relative_price[candidates]
        np.testing.assert_allclose(results[2] - results[0], shift, atol=1e-12)


def test_a_chunk_does_not_depend_on_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulate_module, "_CHUNK_USERS", 50)
    seen: list[tuple[int, int]] = []
    for users, name in ((120, "three"), (60, "two")):
        simulate(tmp_path / name, **{**SMALL, "users": users}, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(50, 120), (100, 120), (120, 120), (50, 60), (60, 60)]
    for table in ("users", "events", "sessions"):
        first = pq.read_table(tmp_path / "three" / f"{table}-00000-of-00003.parquet")
        assert first.equals(pq.read_table(tmp_path / "two" / f"{table}-00000-of-00002.parquet"))
        assert not first.equals(pq.read_table(tmp_path / "three" / f"{table}-00001-of-00003.parquet"))
    assert _read(tmp_path / "three", "users")["user_id"].to_pylist() == [f"u{number:06d}" for number in range(120)]
    sessions, truth = _read(tmp_path / "three", "sessions"), _read(tmp_path / "three", "truth")
    assert truth.num_rows == sum(len(session["candidates"]) for session in sessions.to_pylist())
    assert set(truth["session_id"].to_pylist()) == set(sessions["session_id"].to_pylist())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"users": 0}, "users: must be 1 or more, not 0"),
        ({"items": 399}, "items: must be 400 or more, not 399"),
        ({"days": 0}, "days: must be 1 or more, not 0"),
        ({"seed": -1}, "seed: must be 0 or more, not -1"),
        ({"file_format": "csv"}, "file format: must be one of jsonl, jsonl.gz, parquet, not 'csv'"),
    ],
)
def test_wrong_arguments(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}$"):
        simulate(tmp_path / "log", **arguments)
    assert not (tmp_path / "log").exists()


def test_output_must_be_new_or_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("keep")
    with pytest.raises(InputError, match="full: is not empty; give a directory that is new or empty"):
        simulate(tmp_path / "full", **SMALL)
    with pytest.raises(InputError, match=r"mine\.txt/log: cannot be made \(.*mine\.txt: File exists\)"):
        simulate(tmp_path / "full" / "mine.txt" / "log", **SMALL)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="is the directory you are in or above it"):
        simulate(Path(), **SMALL)
    with pytest.raises(InputError, match=r"mine\.txt: is a file"):
        simulate(tmp_path / "full" / "mine.txt", **SMALL)
    assert (tmp_path / "full" / "mine.txt").read_text() == "keep"


def test_nothing_half_written_stays(tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(tmp_path / "log", **SMALL, progress=stop)
    assert list(tmp_path.iterdir()) == []
