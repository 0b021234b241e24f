"""What a session's scores must not depend on: how its list is cut and ordered, and who shares the batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from random_run import random_run

from export.publish import export
from pipeline.config import Scenario
from tiny_data import category_scenario, random_raw_sessions, tiny_scenario

TOLERANCE = 1e-5
Arrays = dict[str, np.ndarray]


class Exported:
    """The signatures of a published version, on arrays."""

    def __init__(self, scenario: Scenario, signatures: Any) -> None:
        self.axes = {spec.name: spec.axis for spec in scenario.features.score_inputs}
        self._gate_names = [spec.name for spec in scenario.features.gate_inputs]
        self._signatures = signatures

    def gate(self, raw: Arrays) -> np.ndarray:
        tensors = {name: tf.constant(raw[name]) for name in self._gate_names}
        return np.asarray(self._signatures["session_gate"](**tensors)["gate"])

    def scores(self, raw: Arrays, gate: np.ndarray) -> np.ndarray:
        tensors = {name: tf.constant(values) for name, values in raw.items()}
        return np.asarray(self._signatures["score_items"](gate=tf.constant(gate), **tensors)["scores"])

    def candidates(self, raw: Arrays, positions: np.ndarray) -> Arrays:
        """The same sessions, each with these candidates alone, in this order."""
        taken = {name: values[:, positions] if self.axes[name] == "N" else values for name, values in raw.items()}
        return {**taken, "candidate_count": np.full(len(raw["candidate_count"]), len(positions))}


@pytest.fixture(scope="module", params=["attention gate", "sparse gate"])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Scenario, Exported]:
    dense = request.param == "attention gate"
    scenario = tiny_scenario() if dense else category_scenario(name="aw_moe", experts={"top_k": 2})
    place = tmp_path_factory.mktemp("exported")
    version = export(random_run(scenario, place / "data"), place / "models")
    return scenario, Exported(scenario, tf.saved_model.load(str(version)).signatures)


def one_session(scenario: Scenario, seed: int, behaviors: int, candidates: int) -> Arrays:
    """`B = 1`; without behaviours `T` is 1."""
    raw = random_raw_sessions(scenario, batch=1, behaviors=max(behaviors, 1), candidates=candidates, seed=seed)
    return {**raw, "behavior_count": np.array([behaviors])}


@settings(max_examples=15)
@given(st.data())
def test_pages_and_order_do_not_change_a_score(exported: tuple[Scenario, Exported], data: st.DataObject) -> None:
    scenario, model = exported
    count = data.draw(st.integers(1, 12), label="candidates")
    raw = one_session(scenario, data.draw(st.integers(0, 999)), data.draw(st.integers(0, 6)), count)
    gate = model.gate(raw)
    at_once = model.scores(raw, gate)[0]

    order = np.array(data.draw(st.permutations(range(count)), label="order"))
    np.testing.assert_allclose(model.scores(model.candidates(raw, order), gate)[0], at_once[order], atol=TOLERANCE)

    cuts = sorted(data.draw(st.sets(st.integers(1, max(count - 1, 1)), max_size=3), label="cuts"))
    pages = [page for page in np.split(np.arange(count), cuts) if len(page)]
    paged = np.concatenate([model.scores(model.candidates(raw, page), gate)[0] for page in pages])
    np.testing.assert_allclose(paged, at_once, atol=TOLERANCE)


@settings(max_examples=15)
@given(st.data())
def test_whoever_shares_the_batch_does_not_change_gate_or_score(
    exported: tuple[Scenario, Exported], data: st.DataObject
) -> None:
    scenario, model = exported
    sessions = data.draw(st.integers(1, 5), label="sessions")
    behaviors, candidates = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 6))
    seed = data.draw(st.integers(0, 999))
    raw = random_raw_sessions(scenario, batch=sessions, behaviors=behaviors, candidates=candidates, seed=seed)
    gates = model.gate(raw)
    scores = model.scores(raw, gates)

    alone = data.draw(st.integers(0, sessions - 1), label="alone")
    lengths = {"T": max(int(raw["behavior_count"][alone]), 1), "N": int(raw["candidate_count"][alone]), "": 0}
    cut = {
        name: values[alone : alone + 1, : lengths[model.axes[name]]] if model.axes[name] else values[alone : alone + 1]
        for name, values in raw.items()
    }
    gate = model.gate(cut)
    np.testing.assert_allclose(gate[0], gates[alone], atol=TOLERANCE)
    np.testing.assert_allclose(model.scores(cut, gate)[0], scores[alone, : lengths["N"]], atol=TOLERANCE)

    order = np.array(data.draw(st.permutations(range(sessions)), label="order"))
    shuffled = {name: values[order] for name, values in raw.items()}
    np.testing.assert_allclose(model.gate(shuffled), gates[order], atol=TOLERANCE)
    real = np.arange(candidates) < shuffled["candidate_count"][:, None]
    again = model.scores(shuffled, gates[order])
    np.testing.assert_allclose(again[real], scores[order][real], atol=TOLERANCE)
