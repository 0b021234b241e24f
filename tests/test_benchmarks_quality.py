"""The quality benchmark: peers become trials, and the last line says all."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.peers.peer_scores import PeerScores
from benchmarks.peers.run_peer import run_peer
from benchmarks.quality import main, summary
from experiments.compare_trials import compare_trials
from experiments.trial import Trial, read_trials, run_trial
from tiny_data import tiny_scenario, write_tiny_data


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
        facts = run_peer("perfect", 1, tmp_path, candidates, fit).facts
    assert fits == [1], "what was done is not done again"
    assert (facts.dense_parameters, facts.table_parameters) == (5, 7)
    with pytest.raises(AssertionError, match="1 scores for"):
        run_peer("short", 1, tmp_path, candidates, lambda: PeerScores(np.zeros(1), {}))

    result = summary(compare_trials(read_trials(tmp_path), ["perfect", "dnn"]))
    assert result["auc"]["perfect"] == result["mrr"]["perfect"] == 1
    assert result["auc"]["dnn"] < 1
    assert result["spread"]["dnn"]["ndcg_at_10"] is None, "one seed has no spread"
    assert result["p_values"] == {"dnn - perfect": {"auc": None, "ndcg_at_10": None, "mrr": None}}
    json.dumps(result, allow_nan=False)


def test_raw_files_that_are_not_there_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--raw", str(tmp_path), "--output", str(tmp_path / "output"), "--datasets", "trivago"]
    monkeypatch.setattr("sys.argv", ["quality", *options])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "trivago_2019_slice: not there; say with --raw" in capsys.readouterr().err
