"""A scenario with few features, which is built and traced quickly: experiments train many models."""

from __future__ import annotations

from typing import Any

from pipeline.config import Scenario
from tiny_data import tiny_scenario

_FEATURES: dict[str, Any] = {
    "tables": {"item": {"oov_buckets": 1}, "category": {}, "age_group": {}},
    "item": {"item_id": {"kind": "categorical", "table": "item"}},
    "behavior": {},
    "query": {"category": {"kind": "categorical", "table": "category"}},
    "user": {"age_group": {"kind": "categorical", "table": "age_group"}},
    "as_of": {"item_purchases": {"entity": "item_id", "measure": "count", "action": "purchase"}},
    "cross": {},
}


def experiment_scenario(**sections: dict[str, Any]) -> Scenario:
    """One epoch of all five models' layers; prepared data of it is `write_tiny_data`'s.

    Args:
        sections: keys laid over a section, as of `tiny_scenario`.
    """
    small = {"hidden_layers": [4], "activation_layers": [4], "gate": {"unit_layers": [4]}}
    experts = {"experts": {"count": 2, "layers": [16]}}
    laid = {
        "features": _FEATURES,
        "model": {"name": "aw_moe_cl", **small, **experts},
        "training": {"batch_size": 32, "epochs": 1, "shuffle_buffer": 64},
    }
    return tiny_scenario(**{name: {**laid.get(name, {}), **sections.get(name, {})} for name in {**laid, **sections}})
