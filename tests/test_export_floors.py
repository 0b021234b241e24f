"""Floors: a run whose metrics are too low, or not known, is not published."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from random_run import random_run

import awmoe
from export.floors import check_floors
from export.publish import export
from model.evaluate import Evaluation, evaluate
from model.run_directory import Run
from model.weights_fingerprint import weights_fingerprint
from pipeline.errors import InputError
from pipeline.scenario_file import dump_scenario
from tiny_data import tiny_scenario, write_tiny_data


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return random_run(tiny_scenario(), tmp_path_factory.mktemp("data"))


def with_floors(run: Run, **floors: float) -> Run:
    return replace(run, scenario=tiny_scenario(export={"floors": floors}))


def metrics_of(run: Run, path: Path, **model: float | None) -> Path:
    """A file of metrics that belongs to the run's weights."""
    full: dict[str, dict[str, float | None]] = {"model": model, "popularity": {"auc": 0.1, "ndcg_at_10": 0.1}}
    few: dict[str, dict[str, float | None]] = {"model": {"auc": 0.1}}
    Evaluation({"full": full, "few_behaviors": few}, weights_fingerprint(run.model)).write(path)
    return path


def test_metrics_that_reach_their_floors_pass(run: Run, tmp_path: Path) -> None:
    file = metrics_of(run, tmp_path / "metrics.json", auc=0.7, ndcg_at_10=0.65)
    check_floors(with_floors(run, auc=0.7, ndcg_at_10=0.6), file, None)
    check_floors(run, None, None)
    check_floors(run, tmp_path / "not there", None)


def test_a_metric_below_its_floor_is_named_with_value_and_floor(run: Run, tmp_path: Path) -> None:
    file = metrics_of(run, tmp_path / "metrics.json", auc=0.6912, ndcg_at_10=0.65, mrr=None)
    with pytest.raises(InputError, match=r"auc 0\.6912 is below export\.floors\.auc 0\.7; nothing was published"):
        check_floors(with_floors(run, auc=0.7, ndcg_at_10=0.6), file, None)
    with pytest.raises(InputError, match=r"auc 0\.6912 .*; ndcg_at_10 0\.65 is below export\.floors\.ndcg_at_10 0\.7;"):
        check_floors(with_floors(run, auc=0.7, ndcg_at_10=0.7), file, None)
    with pytest.raises(InputError, match=r"mrr is not defined and export\.floors\.mrr is 0;"):
        check_floors(with_floors(run, mrr=0), file, None)


def test_without_metrics_it_is_said_what_to_run(run: Run, tmp_path: Path) -> None:
    wanted = with_floors(run, auc=0.1)
    with pytest.raises(InputError, match=rf"metrics\.json: not there.*run `awmoe evaluate {tmp_path} --data PREPARED`"):
        check_floors(wanted, tmp_path / "metrics.json", None)
    with pytest.raises(InputError, match=r"no metrics are given; run `awmoe evaluate RUN"):
        check_floors(wanted, None, None)
    (tmp_path / "metrics.json").write_text("[1]")
    with pytest.raises(InputError, match=r"metrics\.json: is damaged .*run `awmoe evaluate` again"):
        check_floors(wanted, tmp_path / "metrics.json", None)


def test_metrics_of_other_weights_do_not_count(run: Run, tmp_path: Path) -> None:
    other = random_run(run.scenario, tmp_path / "data", seed=6)
    assert weights_fingerprint(other.model) != weights_fingerprint(run.model)
    file = metrics_of(other, tmp_path / "metrics.json", auc=0.9)
    with pytest.raises(InputError, match=r"metrics\.json: is of other weights than this run's"):
        check_floors(with_floors(run, auc=0.1), file, None)


def test_data_is_evaluated_where_metrics_are_missing(run: Run, tmp_path: Path) -> None:
    data = write_tiny_data(tmp_path / "data", run.scenario, sessions=16)
    before = weights_fingerprint(run.model)
    auc = evaluate(run, data).metrics["full"]["model"]["auc"]
    assert auc is not None
    assert weights_fingerprint(run.model) == before, "an evaluation changed the weights"
    again = random_run(run.scenario, tmp_path / "again")
    assert weights_fingerprint(again.model) == before, "the same weights have another fingerprint"
    check_floors(with_floors(run, auc=auc - 1e-6), tmp_path / "metrics.json", data)
    with pytest.raises(InputError, match=r"auc 0\..* is below export\.floors\.auc"):
        check_floors(with_floors(run, auc=auc + 1e-6), tmp_path / "metrics.json", data)


def test_an_export_below_its_floors_makes_no_version(run: Run, tmp_path: Path) -> None:
    file = metrics_of(run, tmp_path / "metrics.json", auc=0.5)
    with pytest.raises(InputError, match="nothing was published"):
        export(with_floors(run, auc=0.7), tmp_path / "models", metrics_file=file)
    assert not (tmp_path / "models").exists()


def test_a_floor_of_something_else_is_refused() -> None:
    with pytest.raises(InputError, match=r"unknown key `export\.floors\.log_loss`; allowed there: auc, auc_at_10"):
        tiny_scenario(export={"floors": {"log_loss": 0.5}})
    with pytest.raises(InputError, match=r"`export\.floors\.auc`: .*less than or equal to 1 \(got 70"):
        tiny_scenario(export={"floors": {"auc": 70}})


def test_the_command_takes_floors_and_nothing_else_that_was_trained(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics_of(run, tmp_path / "metrics.json", auc=0.5)
    (tmp_path / "scenario.yaml").write_text(dump_scenario(run.scenario), encoding="utf-8")
    monkeypatch.setattr("model.run_directory.load_run", lambda directory: run)
    command = ["export", str(tmp_path), "--output", str(tmp_path / "models"), "--set"]
    refused = CliRunner().invoke(awmoe.cli, [*command, "export.floors.auc=0.7"])
    assert "auc 0.5 is below export.floors.auc 0.7" in str(refused.exception)
    refused = CliRunner().invoke(awmoe.cli, [*command, "training.epochs=1"])
    assert "only the section `export` can change" in str(refused.exception)
    assert not (tmp_path / "models").exists()
