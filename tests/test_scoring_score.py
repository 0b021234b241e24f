"""Batch scoring: the exported model's scores of prepared sessions, and the metrics of an evaluation."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from click.testing import CliRunner
from lifted_run import lifted_run
from random_run import random_run

import awmoe
from export.publish import export
from model.evaluate import evaluate
from model.predict import predict
from model.run_directory import Run
from model.session_metrics import SESSION_METRICS
from pipeline.errors import InputError
from pipeline.prepared_data import PreparedData
from scoring.score import score
from scoring.session_scorer import SCORES, SessionScorer
from tiny_data import tiny_scenario, write_tiny_data

#: More than a batch of the scorer.
SESSIONS = 300


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return random_run(tiny_scenario(), tmp_path_factory.mktemp("assets"))


@pytest.fixture(scope="module")
def version(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(run, tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def data(run: Run, tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    return write_tiny_data(tmp_path_factory.mktemp("data") / "prepared[1]", run.scenario, sessions=SESSIONS)


@pytest.fixture(scope="module")
def scored(version: Path, data: PreparedData, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    output = tmp_path_factory.mktemp("scored") / "scores"
    return output, score(version, data, str(output))


def rows_by_session(rows: Any) -> dict[str, Any]:
    return dict(iter(rows.groupby("session_id")))


def test_every_candidate_has_its_score_label_and_place(
    scored: tuple[Path, dict[str, Any]], run: Run, data: PreparedData
) -> None:
    output, summary = scored
    table = pq.read_table(output, schema=SCORES)  # takes the Parquet files of the folder alone
    expected = predict(run, data.files("test")).to_pandas()
    assert summary["candidates"] == len(table) == len(expected)
    found, wanted = rows_by_session(table.to_pandas()), rows_by_session(expected)
    assert found.keys() == wanted.keys()
    assert summary["sessions"] == len(found) == SESSIONS // 2
    for session, rows in wanted.items():
        own = found[session].sort_values("position")
        assert own["position"].tolist() == list(range(len(rows))), session
        assert own["item_id"].tolist() == rows["item_id"].tolist(), session
        assert own["label"].tolist() == rows["label"].tolist(), session
        np.testing.assert_allclose(own["score"], rows["score"], atol=1e-6, err_msg=session)


def test_the_metrics_are_those_of_evaluate(scored: tuple[Path, dict[str, Any]], run: Run, data: PreparedData) -> None:
    output, summary = scored
    expected = evaluate(run, data).metrics["full"]["model"]
    assert summary["metrics"]["sessions"] == expected["sessions"]
    for name in SESSION_METRICS:
        assert summary["metrics"][name] == pytest.approx(expected[name], abs=1e-6), name
    assert json.loads((output / "_summary.json").read_text()) == summary
    assert summary["data_fingerprint"] == data.fingerprint()


def test_the_metrics_of_logits_are_those_of_evaluate_too(tmp_path: Path) -> None:
    """At 22.5 the sigmoid of float32 is 1 for all."""
    listwise = lifted_run(tmp_path / "assets", "listwise")
    prepared = write_tiny_data(tmp_path / "data", listwise.scenario, sessions=80)
    summary = score(export(listwise, tmp_path / "models"), prepared, str(tmp_path / "scores"))
    expected = evaluate(listwise, prepared).metrics["full"]["model"]
    assert abs((expected["auc"] or 0) - 0.5) > 0.02, "no candidate ranks above another"
    for name in SESSION_METRICS:
        # logits closer than 1e-5 may change places in the exported graph
        assert summary["metrics"][name] == pytest.approx(expected[name], abs=0.01), name


def test_the_command_scores_a_part_with_several_workers(version: Path, data: PreparedData, tmp_path: Path) -> None:
    arguments = ["score", str(version), "--data", str(data.directory), "--output", str(tmp_path / "scores")]
    beam = ["--part", "new_items", "--direct_num_workers=2", "--direct_running_mode=multi_threading"]
    said = CliRunner().invoke(awmoe.cli, [*arguments, *beam])
    assert said.exit_code == 0, said.output
    assert "new_items: 150 sessions" in said.output
    assert "sessions with both classes: auc 0." in said.output
    assert "ndcg@10 0." in said.output
    help_text = CliRunner().invoke(awmoe.cli, ["score", "--help"]).output
    assert "awmoe score models/awmoe/1 " in help_text


def test_scores_never_mix_with_what_is_there(
    scored: tuple[Path, dict[str, Any]], version: Path, data: PreparedData, tmp_path: Path
) -> None:
    before = sorted(path.name for path in scored[0].iterdir())
    with pytest.raises(InputError, match="holds scores already; choose another output"):
        score(version, data, str(scored[0]))
    assert sorted(path.name for path in scored[0].iterdir()) == before
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError, match="is not empty"):
        score(version, data, str(tmp_path))


def test_what_does_not_belong_together_is_refused(version: Path, data: PreparedData, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none: is no version that .awmoe export. wrote"):
        score(tmp_path / "none", data, str(tmp_path / "scores"))
    other = tiny_scenario(features={"item": {**_item_fields(), "colour": {"kind": "categorical", "table": "brand"}}})
    with pytest.raises(InputError, match="was made with"):
        score(version, write_tiny_data(tmp_path / "other", other, sessions=4), str(tmp_path / "scores"))
    assert not (tmp_path / "scores").exists()


def _item_fields() -> dict[str, Any]:
    raw = tiny_scenario().features.model_dump(mode="json", exclude_defaults=True)["item"]
    assert isinstance(raw, dict)
    return raw


def test_a_lost_session_is_missed(version: Path, data: PreparedData, tmp_path: Path) -> None:
    copied = tmp_path / "data"
    shutil.copytree(data.directory, copied)
    lost = PreparedData.open(copied)
    with tf.io.TFRecordWriter(lost.files("test")[0], options="GZIP"):
        pass
    with pytest.raises(InputError, match=r"hold 75 sessions of `test`, and its manifest says 150"):
        score(version, lost, str(tmp_path / "scores"))
    assert not (tmp_path / "scores" / "_summary.json").exists()

    broken = Path(lost.files("test")[1])
    broken.write_bytes(broken.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"sessions-00001-of-00002\.tfrecord\.gz: broken .*preprocess again"):
        score(version, lost, str(tmp_path / "again"))


def test_a_damaged_record_is_one_clear_line(version: Path, run: Run) -> None:
    scorer = SessionScorer(version, run.scenario.features)
    model = scorer.load_model()
    with pytest.raises(InputError, match=r"a record cannot be read \(.*preprocess again"):
        scorer.run_inference([b"no example"], model)
