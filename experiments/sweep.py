"""Figure 8: the contrastive loss's mask probability, negatives and weight."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from experiments.comparison import Summary
from experiments.over_seeds import over_seeds
from experiments.run_trials import run_trials
from experiments.setting_search import Setting, SettingSearch
from experiments.trial import Trial, TrialResult
from experiments.vary import vary, with_model
from model.session_values import session_numbers, session_values
from pipeline.config import Scenario
from pipeline.errors import InputError
from pipeline.prepared_data import PreparedData

SWEEP = "sweep.json"
METRIC = "auc_at_10"
#: Values of Figure 8, varied one at a time around the scenario's.
GRID: dict[str, tuple[float, ...]] = {
    "mask_probability": (0.01, 0.05, 0.1, 0.2, 0.3, 0.5),
    "negatives": (1, 2, 3, 5, 7, 10),
    "weight": (0.01, 0.025, 0.05, 0.1, 0.2, 0.5),
}


@dataclass(frozen=True)
class Point:
    """A setting's test metric, over seeds.

    Attributes:
        value: of the parameter that is varied.
        mean: of the metric on the long-tail part.
        std: over seeds; None with one.
        full: the same on the full test part.
        validation: session AUC of the validation part, by which a setting is chosen.
    """

    value: float
    mean: float | None
    std: float | None
    full: Summary
    validation: Summary


@dataclass(frozen=True)
class Best:
    """The setting with the highest mean validation AUC, among all that were tried."""

    setting: Setting
    validation: Summary
    part: Summary
    full: Summary


@dataclass(frozen=True)
class Sweep:
    """Figure 8's curves.

    Attributes:
        metric: name of the test metric.
        part: the long-tail part of the test sessions; `full` where the scenario has none.
        seeds: of every setting.
        parameters: points by parameter, by rising value.
        best: chosen by validation.
        searched: settings that the joint search tried beside the curves'.
    """

    metric: str
    part: str
    seeds: tuple[int, ...]
    parameters: dict[str, list[Point]]
    best: Best
    searched: int


def sweep(
    scenario: Scenario,
    data: PreparedData,
    output: Path,
    *,
    seeds: int = 3,
    values: int | None = None,
    search: int = 0,
    jobs: int = 1,
) -> Sweep:
    """Trains AW-MoE & CL with one parameter changed at a time, then searches all three together.

    The figure shows the test part, as the paper's does. A setting is chosen by validation alone:
    the search sees nothing else, and starts from what the curves told it.

    Args:
        scenario: its `model.contrastive` is the centre of the curves.
        data: with a validation part.
        output: the experiment's directory; gets `trials/`, `search.journal` and `sweep.json`.
        seeds: of every setting.
        values: at most so many of each parameter, spread over its range; default all.
        search: settings that Optuna's TPE proposes, all parameters together.
        jobs: trials at the same time.

    Raises:
        InputError: there is no validation part, or as of `run_trials`.
    """
    if not data.sessions("validation"):
        raise InputError(f"{data.directory}: has no validation part, by which a setting is chosen")
    base = with_model(scenario, "aw_moe_cl")
    of_seeds = range(1, seeds + 1)
    curves = _curves(base, values)
    output.mkdir(parents=True, exist_ok=True)

    def trials(setting: Setting) -> list[Trial]:
        keys = {f"model.contrastive.{name}": value for name, value in setting.items()}
        return [Trial(_label(setting), vary(base, {**keys, "training.seed": seed})) for seed in of_seeds]

    settings = {_label(setting): setting for points in curves.values() for setting in points}
    done = iter(
        run_trials([trial for setting in settings.values() for trial in trials(setting)], data, output, jobs=jobs)
    )
    results = {label: [next(done) for _ in of_seeds] for label in settings}

    joint = SettingSearch(output)
    for label, setting in settings.items():
        joint.tell(setting, _value(results[label]))
    for number in range(search):
        setting = joint.propose(number)
        label = _label(setting)
        settings[label], results[label] = setting, run_trials(trials(setting), data, output, jobs=jobs)
        joint.tell(setting, _value(results[label]), number)

    part = _long_tail(scenario)
    best = max(settings, key=lambda label: _value(results[label]))
    found = Sweep(
        METRIC,
        part,
        tuple(of_seeds),
        {name: [_point(setting[name], results[_label(setting)], part) for setting in curves[name]] for name in curves},
        Best(settings[best], _validation(results[best]), _test(results[best], part), _test(results[best], "full")),
        search,
    )
    (output / SWEEP).write_text(json.dumps(asdict(found), indent=2, allow_nan=False) + "\n", encoding="utf-8")
    return found


def _curves(base: Scenario, count: int | None) -> dict[str, list[Setting]]:
    """Settings by parameter: its values, with the others as the scenario has them."""
    present = base.model.contrastive
    centre: Setting = {name: getattr(present, name) for name in GRID}
    curves = {}
    for name, grid in GRID.items():
        chosen = {grid[i] for i in np.linspace(0, len(grid) - 1, count or len(grid)).round().astype(int)}
        # the scenario's own value is on every curve
        curves[name] = [{**centre, name: value} for value in sorted({*chosen, centre[name]})]
    return curves


def _label(setting: Setting) -> str:
    return "-".join(f"{name}-{value:g}" for name, value in setting.items())


def _validation(results: Sequence[TrialResult]) -> Summary:
    return over_seeds([max(result.history()["val_session_auc"]) for result in results])


def _value(results: Sequence[TrialResult]) -> float:
    """What a setting is chosen by; a validation part without both classes says nothing."""
    mean = _validation(results).mean
    return 0.5 if mean is None else mean


def _test(results: Sequence[TrialResult], part: str) -> Summary:
    means = []
    for result in results:
        candidates = result.scores()
        if part != "full":
            candidates = candidates.filter(candidates[f"slice_{part}"])
        values = session_values(candidates, session_numbers(candidates))[METRIC]
        means.append(float(np.nanmean(values)) if np.isfinite(values).any() else None)
    return over_seeds(means)


def _point(value: float, results: Sequence[TrialResult], part: str) -> Point:
    test = _test(results, part)
    return Point(value, test.mean, test.std, _test(results, "full"), _validation(results))


def _long_tail(scenario: Scenario) -> str:
    """The slice of users with few behaviours."""
    return next((part.name for part in scenario.evaluation.slices if part.max_behaviors is not None), "full")
