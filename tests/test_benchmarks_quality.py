"""The quality benchmark: peers become trials, and the last line says all."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import quality
from benchmarks.peers.peer_scores import PeerScores
from benchmarks.peers.run_peer import run_peer
from benchmarks.quality import main, summary
from benchmarks.quality_data import _SOURCES
from experiments.compare_trials import compare_trials
from experiments.trial import Trial, read_trials, run_trial
from experiments.vary import vary
from pipeline.scenario_file import dump_scenario, load_scenario
from tiny_data import tiny_scenario, write_tiny_data

ROOT = Path(__file__).parent.parent


def test_a_peer_is_compared_as_our_models_are(tmp_path: Path) -> None:
    scenario = tiny_scenario(model={"name": "dnn"}, training={"epochs": 1, "seed": 1})
    data = write_tiny_data(tmp_path / "data", scenario, sessions=64)
    ours = run_trial(Trial("dnn", scenario), data, tmp_path)
    candidates = ours.scores()
    labels = candidates["label"].to_numpy().astype(np.float64)
    fits = []

    def fit() -> PeerScores:
        fits.append(1)
        return PeerScores(6 * labels - 3, {"training_seconds": 1.0, "parameters": {"dense": 5, "tables": 7}})

    for _ in range(2):
        facts = run_peer("perfect", 1, tmp_path, data, candidates, fit).facts
    assert fits == [1], "what was done is not done again"
    assert (facts.dense_parameters, facts.table_parameters) == (5, 7)
    with pytest.raises(AssertionError, match="1 scores for"):
        run_peer("short", 1, tmp_path, data, candidates, lambda: PeerScores(np.zeros(1), {}))

    result = summary(compare_trials(read_trials(tmp_path), ["perfect", "dnn"]))
    assert result["auc"]["perfect"] == result["mrr"]["perfect"] == 1
    assert result["auc"]["dnn"] < 1
    assert result["spread"]["dnn"]["ndcg_at_10"] is None, "one seed has no spread"
    assert result["p_values"] == {"dnn - perfect": {"auc": None, "ndcg_at_10": None, "mrr": None}}
    json.dumps(result, allow_nan=False)


@pytest.mark.slow
def test_models_and_peers_of_two_seeds_end_in_one_json_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The whole path on a small simulated log: prepared, trained, LightGBM searched, DeepCTR's DIN."""
    small = {"model.experts.layers": [8, 4], "model.hidden_layers": [8], "training.epochs": 1}
    config = tmp_path / "small.yaml"
    # another name: settings of LightGBM are stored for `search`, and here they are to be searched
    config.write_text(dump_scenario(vary(load_scenario(ROOT / "configs/search.yaml", ["name=small"]), small)))
    monkeypatch.setitem(_SOURCES, "simulated", replace(_SOURCES["simulated"], config=str(config), users=300))
    monkeypatch.setattr(quality, "MODELS", ("dnn", "aw_moe_cl"))

    def result(*options: str) -> dict[str, Any]:
        command = ["quality", "--output", str(tmp_path), "--datasets", "simulated", "--json", *options]
        monkeypatch.setattr("sys.argv", [*command, "--search-minutes", "0.02", "--jobs", "1"])
        main()
        found: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])["datasets"]["simulated"]
        return found

    both = result("--seeds", "2")
    labels = {"lightgbm", "deepctr_din", "dnn", "aw_moe_cl"}
    assert set(both["auc"]) == set(both["ndcg_at_10"]) == labels | {"popularity", "oracle"}
    assert set(both["spread"]) == labels
    assert all(both["spread"][label]["auc"] > 0 for label in ("dnn", "aw_moe_cl"))
    assert len(both["p_values"]) == 6
    assert 0 <= both["p_values"]["aw_moe_cl - lightgbm"]["auc"] <= 1
    difference, low, high = both["margins"]["aw_moe_cl - popularity"]["auc"]
    assert low < difference < high
    assert len(both["beyond_full"]["few_behaviors"]["aw_moe_cl - dnn"]["auc"]) == 4
    trials = read_trials(tmp_path / "simulated/experiment", [1])
    sizes = {trial.facts.label: trial.facts.dense_parameters for trial in trials}
    assert sizes["dnn"] == pytest.approx(sizes["aw_moe_cl"], rel=0.01)
    assert sizes["deepctr_din"] >= sizes["aw_moe_cl"], "its FFN is widened to it; other layers alone may be more"

    one = result("--seeds", "1")
    assert one["spread"]["dnn"]["auc"] is None, "seeds beyond those asked for have no part"
    assert one["auc"]["popularity"] == both["auc"]["popularity"]


@pytest.mark.parametrize(("option", "value"), [("--jobs", "0"), ("--seeds", "0"), ("--search-minutes", "0")])
def test_a_number_that_makes_no_sense_is_refused(
    option: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["quality", option, value])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert f"argument {option}: must be" in capsys.readouterr().err


def test_raw_files_that_are_not_there_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--raw", str(tmp_path), "--output", str(tmp_path / "output"), "--datasets", "trivago"]
    monkeypatch.setattr("sys.argv", ["quality", *options])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "trivago_2019_slice: not there; say with --raw" in capsys.readouterr().err
