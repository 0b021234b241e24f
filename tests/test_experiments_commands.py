"""The commands of experiments on tiny data, and what they do when started again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from awmoe import cli
from experiment_data import experiment_scenario
from experiments.comparison import Comparison
from experiments.trial import FACTS
from pipeline.errors import InputError
from pipeline.scenario_file import dump_scenario
from tiny_data import write_tiny_data


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepared data and its scenario file."""
    directory = tmp_path_factory.mktemp("place")
    scenario = experiment_scenario(model={"category_gate": {"feature": "query_category"}})
    (directory / "tiny.yaml").write_text(dump_scenario(scenario))
    write_tiny_data(directory / "data", scenario, sessions=64)
    return directory


def awmoe(command: str, place: Path, output: Path, *options: str) -> Result:
    arguments = [command, str(place / "tiny.yaml"), "--data", str(place / "data"), "--output", str(output), *options]
    return CliRunner().invoke(cli, arguments, catch_exceptions=False)


def trials(output: Path) -> dict[str, int]:
    return {path.parent.relative_to(output).as_posix(): path.stat().st_mtime_ns for path in output.rglob(FACTS)}


def test_models_are_compared_at_one_size_and_more_seeds_are_added(place: Path, tmp_path: Path) -> None:
    options = ("--models", "dnn,din")
    first = awmoe("compare", place, tmp_path, *options, "--seeds", "1")
    assert first.exit_code == 0, first.output
    before = trials(tmp_path)
    assert set(before) == {"trials/dnn/seed-1", "trials/din/seed-1"}
    again = awmoe("compare", place, tmp_path, *options, "--seeds", "2")
    assert again.output.rstrip().endswith(f"written: {tmp_path / 'comparison.json'}")
    after = trials(tmp_path)
    assert len(after) == 4
    assert {name: after[name] for name in before} == before, "what was done is not done again"

    comparison = Comparison.read(tmp_path, "compare")
    assert (comparison.kind, comparison.labels, comparison.seeds) == ("compare", ("dnn", "din"), (1, 2))
    assert set(comparison.parts) == {"full", "few_behaviors", "elderly"}
    sizes = [model.dense_parameters for model in comparison.models.values()]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.02)
    (pair,) = comparison.parts["full"].pairs["auc"]
    assert (pair.a, pair.b) == ("din", "dnn")
    assert pair.p is not None

    with pytest.raises(InputError, match="was trained with another scenario"):
        awmoe("compare", place, tmp_path, *options, "--seeds", "2", "--size", "config")


@pytest.mark.slow
def test_the_gates_units_are_ablated(place: Path, tmp_path: Path) -> None:
    awmoe("ablate", place, tmp_path, "--seeds", "1", "--set", "model.experts.layers=[16, 8]")
    comparison = Comparison.read(tmp_path, "ablate")
    assert comparison.labels == ("base", "gate_unit", "activation_unit", "both")
    sizes = [model.dense_parameters for model in comparison.models.values()]
    assert max(sizes) == pytest.approx(min(sizes), rel=0.02)


@pytest.mark.slow
def test_forms_of_the_gate_are_compared(place: Path, tmp_path: Path) -> None:
    awmoe("gates", place, tmp_path, "--seeds", "1", "--set", "model.name=dnn")
    comparison = Comparison.read(tmp_path, "gates")
    assert (comparison.kind, comparison.labels) == ("gates", ("raw", "softmax", "scaled"))
    aucs = {metrics["auc"].mean for metrics in comparison.parts["full"].models.values()}
    assert len(aucs) == 3, "two forms gave one and the same model"


@pytest.mark.slow
def test_losses_are_compared(place: Path, tmp_path: Path) -> None:
    awmoe("losses", place, tmp_path, "--seeds", "1", "--set", "model.name=dnn")
    comparison = Comparison.read(tmp_path, "losses")
    assert (comparison.kind, comparison.labels) == ("losses", ("pointwise", "listwise", "pairwise"))
    aucs = {metrics["auc"].mean for metrics in comparison.parts["full"].models.values()}
    assert len(aucs) > 1, "the losses gave one and the same model"


@pytest.mark.slow
def test_a_sweep_draws_curves_searches_and_goes_on(place: Path, tmp_path: Path) -> None:
    options = ("--seeds", "1", "--values", "1")
    said = awmoe("sweep", place, tmp_path, *options, "--search", "1").output
    assert "search: setting 1 of 1, mask probability" in said
    found = json.loads((tmp_path / "sweep.json").read_text())
    assert {point["p"] for points in found["parameters"].values() for point in points} == {None}, "there is one seed"
    assert (found["metric"], found["part"]) == ("auc_at_10", "few_behaviors")
    assert [point["value"] for point in found["parameters"]["mask_probability"]] == [0.01, 0.1]
    assert [point["value"] for point in found["parameters"]["negatives"]] == [1, 3]
    assert [point["value"] for point in found["parameters"]["weight"]] == [0.01, 0.05]
    assert f"written: {tmp_path / 'sweep.json'}" in said
    before = trials(tmp_path)
    assert len(before) == 5, "the scenario's own setting, one value of each parameter, and one that was searched"

    (searched,) = {name for name in before if "mask_probability-0.01" not in name and "-0.1-negatives" not in name}
    (tmp_path / searched / FACTS).unlink()  # as if it was stopped before that was done
    awmoe("sweep", place, tmp_path, *options, "--search", "1")
    after = trials(tmp_path)
    assert after.pop(searched) > before.pop(searched)
    assert after == before
    assert json.loads((tmp_path / "sweep.json").read_text()) == found
    best = found["best"]
    validations = [point["validation"]["mean"] for points in found["parameters"].values() for point in points]
    assert best["validation"]["mean"] >= max(validations)
    assert set(best["setting"]) == {"mask_probability", "negatives", "weight"}


def test_a_sweep_around_a_loss_that_is_off_is_refused(place: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"weight: is 0, .*--set model\.contrastive\.weight=0\.05"):
        awmoe("sweep", place, tmp_path, "--set", "model.contrastive.weight=0")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--models", "dnn,dnn"], "one is named twice"),
        (["--models", "dnn,lambdamart"], "models: `lambdamart` is none; there are dnn, din, category_moe"),
        (["--truth", "none.parquet"], r"none\.parquet: no such file"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_mistake_is_told_before_any_training(options: list[str], message: str, place: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        awmoe("compare", place, tmp_path, *options)
    assert not list(tmp_path.iterdir())
