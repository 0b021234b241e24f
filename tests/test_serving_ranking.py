"""The ranked list for people and as JSON: text stays as it is, a missing number is null."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from random_run import random_run

from awmoe import cli
from export.publish import export
from pipeline.config import Scenario
from serving.errors import RequestError
from serving.ranking import RankedItem, Ranking
from serving.recorded_session import recorded_sessions
from serving.server import ModelServer
from tiny_data import VOCABULARY_SIZE, tiny_scenario, write_tiny_data


@pytest.mark.parametrize("text", ["[/x] shoes", "Shampoo [pack of 2] big", "[bold]x", ":shoe: 5:30"])
def test_free_text_is_shown_as_it_is(text: str) -> None:
    item = RankedItem(item_id=f"id {text}", title=f"title {text}", price=None, score=0.5, bought=None)
    ranking = Ranking(query={"terms": f"query {text}"}, behaviors=0, gate=[1.0], version=1, items=[item])

    table = ranking.table(title=f"heading {text}")

    for part in ("id", "title", "query", "heading"):
        assert f"{part} {text}" in table, table


def scenario_with_missing_numbers() -> Scenario:
    """The tiny scenario where a price may be missing, and a number of the query too."""
    features: dict[str, Any] = tiny_scenario().features.model_dump(mode="json", exclude_defaults=True)
    features["item"]["price"]["optional"] = True
    features["query"]["words"] = {"kind": "numeric", "optional": True}
    return tiny_scenario(features=features)


def write_serving_tables(prepared: Path, scenario: Scenario) -> None:
    """What `Catalog` reads: items with titles, no other columns of use here."""
    ids = [f"item_{number}" for number in range(VOCABULARY_SIZE + 1)]
    empty = [None] * len(ids)
    tables: dict[str, dict[str, list[Any]]] = {
        "items": {**dict.fromkeys(scenario.features.item, empty), "item_id": ids, "title": ids},
        "as_of_item_id": {"item_id": ids, "item_purchases": empty, "item_age": empty},
        "as_of_user": {"user_id": [], "activity": []},
    }
    (prepared / "serving").mkdir()
    for name, columns in tables.items():
        pq.write_table(pa.table(columns), prepared / "serving" / f"{name}.parquet")


def test_rank_prints_json_where_numbers_are_missing(tmp_path: Path) -> None:
    scenario = scenario_with_missing_numbers()
    model = export(random_run(scenario, tmp_path / "run"), tmp_path / "models").parent
    prepared = write_tiny_data(tmp_path / "prepared", scenario)
    write_serving_tables(prepared.directory, scenario)
    number, recorded = next(
        (number, recorded)
        for number, recorded in enumerate(recorded_sessions(prepared, scenario.features))
        if math.isnan(recorded.session.query["words"]) and any(math.isnan(c["price"]) for c in recorded.candidates)
    )

    with ModelServer(model) as server:
        command = ["rank", "--server", server.target, "--data", str(prepared.directory), "--test-session", str(number)]
        as_json, as_table = (CliRunner().invoke(cli, [*command, *extra]) for extra in (["--json"], []))

    assert as_json.exit_code == 0, as_json.output
    ranked = json.loads(as_json.stdout, parse_constant=lambda constant: pytest.fail(f"{constant} is no JSON"))
    prices = [c["price"] for c in recorded.candidates]
    assert [item["price"] for item in ranked["items"]].count(None) == sum(map(math.isnan, prices))
    assert ranked["query"]["words"] is None
    assert (as_table.exit_code, "nan" in as_table.output) == (0, False), as_table.output


def test_a_session_that_is_ranked_brings_its_impressions(tmp_path: Path) -> None:
    features = scenario_with_missing_numbers().features.model_dump(mode="json", exclude_defaults=True)
    features["impression"] = {"position": {"kind": "numeric", "log": True}}
    scenario = tiny_scenario(features=features)
    model = export(random_run(scenario, tmp_path / "run"), tmp_path / "models").parent
    prepared = write_tiny_data(tmp_path / "prepared", scenario)
    write_serving_tables(prepared.directory, scenario)

    def rank(*arguments: str, candidates: list[Any] | None = None) -> Any:
        command = ["rank", "--server", server.target, "--data", str(prepared.directory), "--json", "--timeout", "60"]
        return CliRunner().invoke(
            cli, [*command, *arguments], json.dumps({"query": {"words": 2}, "candidates": candidates})
        )

    def scores(first: int, second: int) -> dict[str, float]:
        given = [{"item_id": "item_1", "position": first}, {"item_id": "item_2", "position": second}]
        result = rank("--session", "-", candidates=given)
        assert result.exit_code == 0, result.output
        return {item["item_id"]: item["score"] for item in json.loads(result.stdout)["items"]}

    with ModelServer(model) as server:
        one, other = scores(1, 20), scores(20, 20)
        assert one["item_1"] != pytest.approx(other["item_1"], abs=1e-6)
        assert one["item_2"] == pytest.approx(other["item_2"], abs=1e-6)
        assert rank("--test-session", "0").exit_code == 0
        refused = rank("--session", "-", candidates=["item_1"])
    assert isinstance(refused.exception, RequestError)
    assert "candidate 0: lacks `position`, which only the session knows" in str(refused.exception)
