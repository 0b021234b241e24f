"""Rivals of equal parameter count, counted by building them."""

from __future__ import annotations

from typing import Any

import pytest

from experiment_data import experiment_scenario
from experiments.equal_size import dense_parameters, equal_size
from experiments.vary import vary, with_model
from pipeline.config import ModelName, Scenario
from pipeline.encoding_assets import EncodingAssets
from pipeline.errors import InputError
from tiny_data import write_tiny_data


def scenario(**experts: Any) -> Scenario:
    """AW-MoE & CL with experts of these options."""
    return vary(experiment_scenario(), {"model.experts": {"count": 3, "layers": [16, 8], **experts}})


@pytest.fixture(scope="module")
def assets(tmp_path_factory: pytest.TempPathFactory) -> EncodingAssets:
    whole = scenario()
    return write_tiny_data(tmp_path_factory.mktemp("data"), whole, sessions=8).assets(whole.features)


@pytest.fixture(scope="module")
def reference(assets: EncodingAssets) -> int:
    return dense_parameters(scenario(), assets)


@pytest.mark.parametrize("name", ["dnn", "din", "category_moe"])
def test_a_rival_gets_the_size_of_aw_moe(name: ModelName, assets: EncodingAssets, reference: int) -> None:
    rival = with_model(scenario(), name)
    assert dense_parameters(rival, assets) < 0.95 * reference, "nothing to make equal"
    equal = equal_size(rival, assets, reference)
    assert dense_parameters(equal, assets) == pytest.approx(reference, rel=0.01)
    layers = equal.model.experts.layers
    factors = [after / before for before, after in zip(rival.model.experts.layers, layers, strict=True)]
    assert max(factors) - min(factors) < 0.5, f"{layers} is no common factor of {rival.model.experts.layers}"
    assert vary(equal, {"model.experts.layers": rival.model.experts.layers}) == rival, "something else was changed"


def test_narrower_deeper_and_wide_experts_are_fitted_too(assets: EncodingAssets) -> None:
    rival = with_model(scenario(layers=[64, 32, 16]), "din")
    for parameters in (2_500, 40_000, 1_000_000):
        assert dense_parameters(equal_size(rival, assets, parameters), assets) == pytest.approx(parameters, rel=0.01)


def test_a_model_of_that_size_is_left_as_it_is(assets: EncodingAssets, reference: int) -> None:
    whole = scenario()
    assert equal_size(whole, assets, round(reference * 1.005)) is whole


def test_a_size_below_that_of_the_other_layers_is_refused(assets: EncodingAssets) -> None:
    with pytest.raises(InputError, match=r"no width of model\.experts\.layers gives aw_moe_cl 100 parameters"):
        equal_size(scenario(), assets, 100)


def test_a_model_of_one_expert_loses_the_options_of_many() -> None:
    many = scenario(top_k=2, noise=1.0, load_balance=0.1, adversarial=0.1)
    experts = with_model(many, "din").model.experts
    assert (experts.top_k, experts.noise, experts.load_balance, experts.adversarial) == (None, 0, 0, 0)
    assert with_model(many, "category_moe").model.experts == many.model.experts


def test_small_and_large_numbers_and_layers_are_laid_over() -> None:
    changed = vary(
        scenario(), {"training.weight_decay": 1e-20, "training.clip_norm": 1e20, "model.hidden_layers": (9, 8)}
    )
    assert (changed.training.weight_decay, changed.training.clip_norm) == (1e-20, 1e20)
    assert changed.model.hidden_layers == (9, 8)


def test_a_change_that_does_not_go_names_its_key() -> None:
    with pytest.raises(InputError, match=r"^override `model\.gate\.unit=true`: unknown key `model\.gate\.unit`"):
        vary(scenario(), {"model.gate.unit": True})
