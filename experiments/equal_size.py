"""Rivals of equal parameter count."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise, product

from experiments.vary import vary
from model.parameter_count import parameter_count
from model.run_directory import new_run
from pipeline.config import Scenario
from pipeline.encoding_assets import EncodingAssets
from pipeline.errors import InputError

#: By how much two models of equal size may differ.
TOLERANCE = 0.01
#: Units by which a layer may leave the common factor where layers are so small that rounding shows.
_ADJUSTMENT = 3


def dense_parameters(scenario: Scenario, assets: EncodingAssets) -> int:
    """How many weights the scenario's model has outside its embedding tables.

    Args:
        assets: of prepared data; its vocabularies do not change the number.
    """
    return _count(scenario, assets)[0]


def equal_size(scenario: Scenario, assets: EncodingAssets, parameters: int) -> Scenario:
    """The scenario with wider or narrower experts, so that its model is of a given size.

    All layers of `model.experts.layers` are multiplied by one factor and rounded. Where layers
    are so small that rounding misses the size, each may be a few units off.

    Args:
        scenario: a scenario that is within 1% as it is comes back unchanged.
        assets: of prepared data.
        parameters: weights outside embedding tables, as `dense_parameters` counts.

    Raises:
        InputError: no width of the experts gives that size.
    """
    present, inputs = _count(scenario, assets)
    if _equal(present, parameters):
        return scenario
    layers, experts = scenario.model.experts.layers, scenario.model.expert_count
    other = present - experts * _expert(inputs, layers)

    def size(widths: Sequence[int]) -> int:
        return other + experts * _expert(inputs, widths)

    widths = _scaled(layers, _factor(layers, lambda widths: size(widths) >= parameters))
    if not _equal(size(widths), parameters):
        steps = product(range(-_ADJUSTMENT, _ADJUSTMENT + 1), repeat=len(widths))
        near = [tuple(max(1, width + step) for width, step in zip(widths, moved, strict=True)) for moved in steps]
        # of those that fit, the one nearest to the common factor
        widths = min(near, key=lambda choice: (not _equal(size(choice), parameters), math.dist(choice, widths)))
    if not _equal(size(widths), parameters):
        raise InputError(
            f"scenario {scenario.name}: no width of model.experts.layers gives {scenario.model.name} "
            f"{parameters:,} parameters; its other layers have {other:,}"
        )
    return vary(scenario, {"model.experts.layers": widths})


def _count(scenario: Scenario, assets: EncodingAssets) -> tuple[int, int]:
    """Weights outside embedding tables, and how many inputs an expert has."""
    model = new_run(scenario, assets).model
    kernels = [model.experts.candidate_kernel, getattr(model.experts, "session_kernel", None)]
    return parameter_count(model).dense, sum(kernel.shape[1] for kernel in kernels if kernel is not None)


def _expert(inputs: int, layers: Sequence[int]) -> int:
    """Weights and biases of one expert with one score on top."""
    return sum((before + 1) * after for before, after in pairwise([inputs, *layers, 1]))


def _scaled(layers: Sequence[int], factor: float) -> tuple[int, ...]:
    return tuple(max(1, round(factor * units)) for units in layers)


def _factor(layers: Sequence[int], large_enough: Callable[[Sequence[int]], bool]) -> float:
    """The smallest factor that is large enough, by halving: size grows with it."""
    low, high = 0.0, 1.0
    while not large_enough(_scaled(layers, high)):
        low, high = high, 2 * high
    # to a small part of a unit of the widest layer
    while (high - low) * max(layers) > 0.01:
        middle = (low + high) / 2
        low, high = (low, middle) if large_enough(_scaled(layers, middle)) else (middle, high)
    return high


def _equal(parameters: int, wanted: int) -> bool:
    return abs(parameters - wanted) <= TOLERANCE * wanted
