"""A sweep: its file, its tables, its figure, and whether its points differ."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from experiment_data import experiment_scenario
from experiments import sweep as module
from experiments.comparison import Summary
from experiments.linearised import linearised
from experiments.report.sweep_figure import draw_sweep
from experiments.search_progress import SearchProgress
from experiments.significance import difference_test
from experiments.sweep_result import SWEEP, Sweep
from experiments.sweep_tables import sweep_tables
from experiments.trial import RUN, SCORES, Trial, TrialFacts, TrialResult
from experiments.tried_setting import TriedSetting
from model.run_directory import HISTORY
from model.session_values import session_numbers, session_values
from pipeline.errors import InputError
from sweep_example import sweep_of

SESSIONS, CANDIDATES, SEEDS = 120, 14, (1, 2, 3)
METRIC, PART = "auc_at_10", "few_behaviors"


def result(directory: Path, strength: float, seed: int) -> TrialResult:
    """A trial whose scores know the label by so much; 60 sessions are of the part, some of them of one class."""
    labels = np.random.default_rng(0).random((SESSIONS, CANDIDATES)) < 0.15
    scores = strength * labels + np.random.default_rng(seed).normal(size=labels.shape)
    session = np.repeat(np.arange(SESSIONS), CANDIDATES)
    (directory / RUN).mkdir(parents=True)
    (directory / RUN / HISTORY).write_text(json.dumps({"val_session_auc": [0.5, 0.6 + 0.01 * seed, 0.55]}))
    table = {
        "session_id": [f"s{number}" for number in session],
        "item_id": [f"i{number}" for number in range(len(session))],
        "label": labels.ravel().astype(np.int8),
        "score": scores.ravel(),
        f"slice_{PART}": session % 2 == 0,
    }
    pq.write_table(pa.table(table), directory / SCORES)
    return TrialResult(directory, TrialFacts("a", seed, 1, 1, 1.0, 3, "data"))


def tried(directory: Path, weight: float, strength: float, seeds: tuple[int, ...] = SEEDS) -> TriedSetting:
    results = [result(directory / f"{weight}-{seed}", strength, seed + int(1000 * weight)) for seed in seeds]
    return TriedSetting({"weight": weight}, results, METRIC, PART)


def values(setting: TriedSetting) -> np.ndarray:
    """The metric in the part's sessions with both classes, `[seeds, sessions]`."""
    of_seeds = []
    for each in setting.results:
        rows = each.scores().to_pandas()
        rows = rows[rows[f"slice_{PART}"] & (rows.groupby("session_id")["label"].transform("nunique") == 2)]
        table = pa.table({name: rows[name].tolist() for name in rows})
        of_seeds.append(session_values(table, session_numbers(table))[METRIC])
    return np.stack(of_seeds)


def test_points_are_tested_over_sessions_and_seeds(tmp_path: Path) -> None:
    own, alike, better = tried(tmp_path, 0.1, 1.0), tried(tmp_path, 0.2, 1.0), tried(tmp_path, 0.3, 3.0)
    ours, theirs = values(better), values(own)
    assert 2 < ours.shape[1] < SESSIONS / 2, "some sessions are of one class"
    assert not np.isfinite(theirs).all(), "in some, the ten best are of one class"
    assert better.p_against(own) == pytest.approx(difference_test(linearised(ours), linearised(theirs)).p)
    assert (better.p_against(own) or 1) < 0.01 < (alike.p_against(own) or 0)
    assert better.on_part.mean == pytest.approx(np.nanmean(ours, axis=1).mean())
    assert better.on_part.std == pytest.approx(np.nanmean(ours, axis=1).std(ddof=1))
    assert better.on_full != better.on_part


def test_what_cannot_be_tested_has_no_p(tmp_path: Path) -> None:
    own = tried(tmp_path, 0.1, 1.0)
    assert own.p_against(own) is None
    first, second = tried(tmp_path / "one", 0.2, 1.0, seeds=(1,)), tried(tmp_path / "one", 0.3, 1.0, seeds=(1,))
    assert first.p_against(second) is None
    assert first.on_part.std is None


def test_a_setting_is_chosen_by_its_best_epochs(tmp_path: Path) -> None:
    setting = tried(tmp_path, 0.0, 1.0)
    assert setting.validation.mean == setting.value == pytest.approx(0.62)


def test_the_file_reads_back_equal_and_says_what_makes_it(tmp_path: Path) -> None:
    sweep = sweep_of([0.8, 0.7])
    sweep.write(tmp_path)
    assert Sweep.read(tmp_path) == sweep
    raw = json.loads((tmp_path / SWEEP).read_text())
    assert [point["p"] for point in raw["parameters"]["weight"]] == [None, 0.2]
    assert raw["best"]["part"] == {"mean": 0.7, "std": 0.01}
    with pytest.raises(InputError, match=r"sweep\.json: is not there; `awmoe sweep --output .*none` makes it"):
        Sweep.read(tmp_path / "none")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "has no 'metric'"),
        ("[]", "is damaged"),
        ("{", "is damaged"),
        ('{"metric": "auc", "part": "full", "seeds": [1], "own": {}, "parameters": []}', "is damaged"),
        ('{"metric": "auc", "part": "full", "seeds": [1], "own": {}, "parameters": {"a": [{"value": 1}]}}', "damaged"),
    ],
)
def test_a_file_of_something_else_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / SWEEP).write_text(text)
    with pytest.raises(InputError, match=f"{message}.*`awmoe sweep --output"):
        Sweep.read(tmp_path)


def test_tables_have_p_and_the_best_settings_test_numbers() -> None:
    console = Console(width=180)
    with console.capture() as capture:
        for table in sweep_tables(sweep_of([0.8, 0.7], p=0.0123)):
            console.print(table)
    shown = capture.get()
    assert re.search(r"0\.05 \(the scenario's\) +0\.7000 ±0\.0100 +0\.7500", shown), "it has no p"
    assert re.search(r"0\.7200 ±0\.0100 +0\.012 +0\.7500 ±0\.0100 +0\.7000 ±0\.0100", shown)
    assert re.search(r"weight 0\.05, negatives 3 +0\.7000 ±0\.0100 +0\.7500 ±0\.0100 +0\.8000 ±0\.0100", shown)


@pytest.mark.parametrize(("validation", "chosen"), [((0.8, 0.7), 0), ((0.7, 0.8), 1)])
def test_rings_are_at_what_validation_chooses(validation: tuple[float, float], chosen: int) -> None:
    sweep = sweep_of(validation)
    assert sweep.chosen("weight") == sweep.parameters["weight"][chosen]
    drawing = draw_sweep(sweep)
    assert f"validation chooses on each curve: weight {(0.05, 0.1)[chosen]:g}, negatives {(3, 5)[chosen]}" in (
        drawing.caption
    )
    assert "chooses weight 0.05, negatives 3, whose AUC@10 is 0.7000 ±0.0100 on this part" in drawing.caption
    places = {
        colour: re.findall(
            rf'<use [^>]*x="([\d.]+)" y="([\d.]+)" style="[^"]*stroke: var\(--series-{colour}\)', drawing.svg
        )
        for colour in (1, 2)
    }
    rings, points = places[2], list(dict.fromkeys(places[1]))
    assert len(rings) == 2, "a ring a curve"
    assert rings[0] in points
    assert (float(rings[0][0]) > min(float(x) for x, _ in points)) == bool(chosen), "the other value has the ring"


def test_only_a_test_tells_points_apart() -> None:
    def caption(sweep: Sweep) -> str:
        return draw_sweep(sweep).caption

    assert "No point differs from the scenario's own setting (weight 0.05, negatives 3)" in caption(
        sweep_of([0.8, 0.7])
    )
    sure = caption(sweep_of([0.8, 0.7], p=0.0001))
    assert "not corrected for its 2 points): weight 0.1 (p < 0.001), negatives 5 (p < 0.001)." in sure
    assert "was not tested: that takes two seeds" in caption(sweep_of([0.8, 0.7], p=None))


def test_a_choice_without_the_metric_has_no_ring() -> None:
    sweep = sweep_of([0.8, 0.7])
    own, other = sweep.parameters["weight"]
    hidden = replace(sweep, parameters={"weight": [replace(own, mean=None, std=None), other]})
    assert "--series-2" not in draw_sweep(hidden).svg
    nothing = replace(sweep, parameters={"weight": [replace(own, mean=None, std=None)]})
    assert draw_sweep(nothing).instead == "No session of that part has an AUC@10."
    assert replace(own, validation=Summary(None)) != sweep.chosen("weight")


def test_progress_says_what_is_left_of_the_whole_search(capsys: pytest.CaptureFixture[str]) -> None:
    progress = SearchProgress(20, seeds=3, jobs=2)
    progress.start(0, {"weight": 0.05}, [])
    progress.start(
        4, {"weight": 0.05, "negatives": 3}, [TrialFacts("a", 1, 1, 1, seconds, 3, "data") for seconds in (50, 70)]
    )
    first, fifth = capsys.readouterr().err.splitlines()
    assert first == "search: setting 1 of 20, weight 0.05"
    # 16 settings of two rounds of a minute
    assert fifth == "search: setting 5 of 20, weight 0.05, negatives 3; about 32 min left in the whole search"


def test_a_sweep_tests_its_points_and_searches_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def trained(trials: list[Trial], data: object, experiment: Path, *, jobs: int) -> list[TrialResult]:
        asked.append(len(trials))
        # the weight alone matters: the more of it, the better
        strengths = [10 * trial.scenario.model.contrastive.weight for trial in trials]
        return [
            result(tmp_path / f"{len(asked)}-{number}", strength, number)
            for number, strength in enumerate(strengths, start=1)
        ]

    class Data:
        directory = tmp_path

        def sessions(self, part: str) -> int:
            return 10

    monkeypatch.setattr(module, "run_trials", trained)
    found = module.sweep(experiment_scenario(), Data(), tmp_path, seeds=2, values=2, search=2)  # type: ignore[arg-type]
    assert asked == [14, 2, 2], "seven settings of two seeds, then two searched ones"
    assert found.own == {"mask_probability": 0.1, "negatives": 3, "weight": 0.05}
    assert [point.value for point in found.parameters["weight"]] == [0.01, 0.05, 0.5]
    for points in found.parameters.values():
        assert [point.p is None for point in points] == [False, True, False], "all but the scenario's own are tested"
    assert (found.parameters["weight"][2].p or 0) < 0.05, "a far stronger model"
    assert found.best.part.mean is not None
    assert Sweep.read(tmp_path) == found
    assert "search: setting 2 of 2, " in capsys.readouterr().err
