"""A scenario with some keys changed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pipeline.config import ModelName, Scenario
from pipeline.scenario_file import dump_scenario, parse_scenario_text

#: What a model of one expert refuses, at the values that switch it off.
_ONE_EXPERT = {
    "model.experts.top_k": None,
    "model.experts.noise": 0.0,
    "model.experts.load_balance": 0.0,
    "model.experts.adversarial": 0.0,
}


def vary(scenario: Scenario, changes: Mapping[str, Any]) -> Scenario:
    """The scenario with values laid over it, validated as a file is.

    Args:
        scenario: is not changed.
        changes: values by key, for instance `{"model.gate.gate_unit": False}`.

    Raises:
        InputError: the values are wrong, or do not go with the scenario's others.
    """
    overrides = [f"{key}={json.dumps(value)}" for key, value in changes.items()]
    return parse_scenario_text(dump_scenario(scenario), f"scenario {scenario.name}", overrides)


def with_model(scenario: Scenario, name: ModelName) -> Scenario:
    """The scenario with another model, all else equal; options of many experts go where there is one."""
    return vary(scenario, {"model.name": name, **(_ONE_EXPERT if name in ("dnn", "din") else {})})
