"""The benchmark compares two ways to do one job: what both write is equal."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prepared_records import read_files

from benchmarks.reference_pipeline import reference_preprocess
from benchmarks.skewed_log import skew
from pipeline.encoding_assets import EncodingAssets
from pipeline.prepared_data import PARTS, PreparedData
from pipeline.run import preprocess
from pipeline.scenario_file import load_scenario
from pipeline.simulate import simulate
from pipeline.steps import plan_slices

LOG: dict[str, Any] = {"users": 300, "items": 600, "days": 20, "seed": 11}
SCENARIO = load_scenario(Path(__file__).parent.parent / "configs" / "search.yaml")


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[PreparedData, Path]:
    """Prepared data of a simulated log, and the reference's of the same."""
    directory = tmp_path_factory.mktemp("both")
    simulate(directory / "log", **LOG)
    preprocess(SCENARIO, str(directory / "log"), str(directory / "prepared"))
    reference_preprocess(SCENARIO, str(directory / "log"), str(directory / "reference"))
    return PreparedData.open(directory / "prepared"), directory / "reference"


def check_records(files: list[str], reference: Path) -> dict[str, dict[str, Any]]:
    """Holds records equal in every value; gives them."""
    ours = read_files(files, SCENARIO.features)
    theirs = read_files((str(path) for path in reference.glob("*.tfrecord.gz")), SCENARIO.features)
    assert ours.keys() == theirs.keys()
    assert len(ours) > 80
    for session, record in ours.items():
        for name, values in record.items():
            np.testing.assert_array_equal(values, theirs[session][name], err_msg=f"{session}: {name}")
    return ours


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_every_record_is_the_reference_s(both: tuple[PreparedData, Path], part: Any) -> None:
    prepared, reference = both
    records = check_records(prepared.files(part), reference / part)
    bought_with = np.concatenate([record["candidate_bought_with"] for record in records.values()])
    assert (bought_with > 0).mean() > 0.1


def test_the_reference_has_no_part_of_its_own(both: tuple[PreparedData, Path]) -> None:
    prepared, reference = both
    written = {path.parent.name for path in reference.rglob("*.tfrecord.gz")}
    assert {part for part in PARTS if prepared.sessions(part)} <= written <= set(PARTS)


def test_vocabularies_and_statistics_are_the_reference_s(both: tuple[PreparedData, Path]) -> None:
    features = SCENARIO.features
    ours, theirs = both[0].assets(features), EncodingAssets.load(both[1], features)
    for table in features.tables:
        assert ours.vocabulary(table) == theirs.vocabulary(table), table
        assert ours.vocabulary(table), table
    for name, statistics in ours.numeric.items():  # ours are of numbers rounded to four digits
        found = [theirs.numeric[name].mean, theirs.numeric[name].std]
        np.testing.assert_allclose([statistics.mean, statistics.std], found, rtol=1e-3, err_msg=name)


def test_the_reference_reads_json_lines_too(both: tuple[PreparedData, Path], tmp_path: Path) -> None:
    simulate(tmp_path / "log", **LOG, file_format="jsonl.gz")
    reference_preprocess(SCENARIO, str(tmp_path / "log"), str(tmp_path / "reference"))
    check_records(both[0].files("test"), tmp_path / "reference" / "test")


def test_a_skewed_log_gives_the_same_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_slices, "_REQUESTS", 500)  # so that the item of every session is cut into slices
    simulate(tmp_path / "log", **LOG)
    skew(tmp_path / "log", tmp_path / "skewed", heavy_events=3_000)
    preprocess(SCENARIO, str(tmp_path / "skewed"), str(tmp_path / "prepared"))
    reference_preprocess(SCENARIO, str(tmp_path / "skewed"), str(tmp_path / "reference"))
    prepared = PreparedData.open(tmp_path / "prepared")
    records = check_records(prepared.files("test"), tmp_path / "reference" / "test")
    items = [set(record["candidate_item_id"]) for record in records.values()]
    assert set.intersection(*items), "one item is in every session"
    activity = [float(record["user_activity"]) for record in records.values()]
    assert max(activity) > 2_000
