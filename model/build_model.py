"""The model that a scenario names."""

from __future__ import annotations

from collections.abc import Mapping

from model.aw_moe import AWMoE
from model.baselines import DIN, DNN, CategoryMoE
from model.ranker import Ranker
from pipeline.config import ModelName, Scenario

_MODELS: dict[ModelName, type[Ranker]] = {
    "dnn": DNN,
    "din": DIN,
    "category_moe": CategoryMoE,
    "aw_moe": AWMoE,
    "aw_moe_cl": AWMoE,
}


def build_model(scenario: Scenario, table_rows: Mapping[str, int]) -> Ranker:
    """The model of `model.name`, its weights not made yet; arguments as of `Ranker`."""
    return _MODELS[scenario.model.name](scenario, table_rows)
