"""Figure 8: the contrastive loss's mask probability, negatives and weight."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiments.run_trials import run_trials
from experiments.search_progress import SearchProgress
from experiments.setting_search import SettingSearch
from experiments.sweep_result import Best, Point, Setting, Sweep
from experiments.trial import Trial, TrialResult
from experiments.tried_setting import TriedSetting
from experiments.vary import vary, with_model
from pipeline.config import Scenario
from pipeline.errors import InputError
from pipeline.prepared_data import PreparedData

METRIC = "auc_at_10"
#: Values of Figure 8, varied one at a time around the scenario's.
GRID: dict[str, tuple[float, ...]] = {
    "mask_probability": (0.01, 0.05, 0.1, 0.2, 0.3, 0.5),
    "negatives": (1, 2, 3, 5, 7, 10),
    "weight": (0.01, 0.025, 0.05, 0.1, 0.2, 0.5),
}


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
        InputError: there is no validation part, the scenario's weight is 0, or as of `run_trials`.
    """
    if not data.sessions("validation"):
        raise InputError(f"{data.directory}: has no validation part, by which a setting is chosen")
    base = with_model(scenario, "aw_moe_cl")
    if not base.model.contrastive.weight:
        raise InputError(
            "model.contrastive.weight: is 0, which switches the contrastive loss off: other masks and negatives would "
            "change nothing; give the sweep a weight, for instance --set model.contrastive.weight=0.05"
        )
    of_seeds = range(1, seeds + 1)
    part = _long_tail(scenario)
    centre: Setting = {name: getattr(base.model.contrastive, name) for name in GRID}
    curves = _curves(centre, values)
    output.mkdir(parents=True, exist_ok=True)

    def trials(setting: Setting) -> list[Trial]:
        keys = {f"model.contrastive.{name}": value for name, value in setting.items()}
        return [Trial(_label(setting), vary(base, {**keys, "training.seed": seed})) for seed in of_seeds]

    def with_results(setting: Setting, results: Sequence[TrialResult]) -> TriedSetting:
        return TriedSetting(setting, results, METRIC, part)

    settings = {_label(setting): setting for points in curves.values() for setting in points}
    done = iter(
        run_trials([trial for setting in settings.values() for trial in trials(setting)], data, output, jobs=jobs)
    )
    tried = {label: with_results(setting, [next(done) for _ in of_seeds]) for label, setting in settings.items()}

    joint, progress = SettingSearch(output), SearchProgress(search, seeds, jobs)
    for each in tried.values():
        joint.tell(each.setting, each.value)
    for number in range(search):
        setting = joint.propose(number)
        progress.start(number, setting, [result.facts for each in tried.values() for result in each.results])
        found = tried[_label(setting)] = with_results(setting, run_trials(trials(setting), data, output, jobs=jobs))
        joint.tell(setting, found.value, number)

    own = tried[_label(centre)]
    best = max(tried.values(), key=lambda each: each.value)
    result = Sweep(
        metric=METRIC,
        part=part,
        seeds=tuple(of_seeds),
        own=centre,
        parameters={
            name: [_point(setting[name], tried[_label(setting)], own) for setting in settings]
            for name, settings in curves.items()
        },
        best=Best(best.setting, best.validation, best.on_part, best.on_full, best.p_against(own)),
        searched=search,
    )
    result.write(output)
    return result


def _curves(centre: Setting, count: int | None) -> dict[str, list[Setting]]:
    """Settings by parameter: its values, with the others as the scenario has them."""
    curves = {}
    for name, grid in GRID.items():
        chosen = {grid[i] for i in np.linspace(0, len(grid) - 1, count or len(grid)).round().astype(int)}
        # the scenario's own value is on every curve
        curves[name] = [{**centre, name: value} for value in sorted({*chosen, centre[name]})]
    return curves


def _label(setting: Setting) -> str:
    return "-".join(f"{name}-{value:g}" for name, value in setting.items())


def _point(value: float, tried: TriedSetting, own: TriedSetting) -> Point:
    test = tried.on_part
    return Point(value, test.mean, test.std, tried.on_full, tried.validation, tried.p_against(own))


def _long_tail(scenario: Scenario) -> str:
    """The slice of users with few behaviours."""
    return next((part.name for part in scenario.evaluation.slices if part.max_behaviors is not None), "full")
