"""The benchmark compares two ways to do one job: what both write is equal."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from benchmarks.reference_pipeline import reference_preprocess
from pipeline.config import load_scenario
from pipeline.encoding_assets import EncodingAssets
from pipeline.features import InputSpec
from pipeline.prepared_data import PARTS, PreparedData
from pipeline.records import record_specs
from pipeline.run import preprocess
from pipeline.simulate import simulate

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


def read_records(files: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Records by session id, parsed by TensorFlow from the declared columns alone."""

    def parser(spec: InputSpec) -> Any:
        dtype = {"string": tf.string, "float32": tf.float32, "int64": tf.int64}[spec.dtype]
        return tf.io.RaggedFeature(dtype) if spec.axis else tf.io.FixedLenFeature([], dtype)

    parsers = {spec.name: parser(spec) for spec in record_specs(SCENARIO.features)}
    examples = list(tf.data.TFRecordDataset(list(files), compression_type="GZIP"))
    parsed = {name: column.numpy() for name, column in tf.io.parse_example(tf.stack(examples), parsers).items()}
    ids = [session.decode() for session in parsed["session_id"]]
    assert len(set(ids)) == len(ids)
    return {session: {name: column[row] for name, column in parsed.items()} for row, session in enumerate(ids)}


def check_records(files: list[str], reference: Path) -> dict[str, dict[str, Any]]:
    """Holds records equal in every value; gives them."""
    ours = read_records(files)
    theirs = read_records(str(path) for path in reference.glob("*.tfrecord.gz"))
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
