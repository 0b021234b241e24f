"""The checks before publishing find what they are there for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from lifted_run import lifted_run
from random_run import random_run
from tensorflow.core.protobuf import saved_model_pb2

from export.checks import check_graph, check_scores
from export.random_sessions import random_sessions
from export.signatures import save_signatures
from pipeline.errors import InputError
from tiny_data import tiny_scenario

VECTOR = [tf.TensorSpec([None], tf.float32)]


@tf.function(input_signature=VECTOR)
def plain(x: tf.Tensor) -> tf.Tensor:
    return 2 * x


@tf.function(input_signature=VECTOR)
def python(x: tf.Tensor) -> tf.Tensor:
    return tf.numpy_function(np.square, [x], tf.float32)


@tf.function(input_signature=VECTOR, jit_compile=True)
def compiled(x: tf.Tensor) -> tf.Tensor:
    return x + 1


def save(directory: Path, **signatures: tf.types.experimental.GenericFunction) -> Path:
    tf.saved_model.save(tf.Module(), str(directory), signatures=signatures)
    return directory


def test_a_plain_graph_with_both_signatures_passes(tmp_path: Path) -> None:
    check_graph(save(tmp_path / "saved", session_gate=plain, score_items=plain))


def test_signatures_are_counted(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"signatures are \['session_gate'\], not \['score_items', 'session_gate'\]"):
        check_graph(save(tmp_path / "one", session_gate=plain))
    with pytest.raises(InputError, match=r"signatures are \['more', 'score_items', 'session_gate'\]"):
        check_graph(save(tmp_path / "three", session_gate=plain, score_items=plain, more=plain))


def test_python_in_the_graph_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"runs Python \(PyFunc\)"):
        check_graph(save(tmp_path / "saved", session_gate=plain, score_items=python))


def test_a_compiled_graph_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="compiled with XLA"):
        check_graph(save(tmp_path / "saved", session_gate=plain, score_items=compiled))


def test_an_operation_that_is_not_tensorflows_is_refused(tmp_path: Path) -> None:
    directory = save(tmp_path / "saved", session_gate=plain, score_items=plain)
    saved = saved_model_pb2.SavedModel.FromString((directory / "saved_model.pb").read_bytes())
    saved.meta_graphs[0].graph_def.library.function[0].node_def[0].op = "FancyKernel"
    (directory / "saved_model.pb").write_bytes(saved.SerializeToString())
    with pytest.raises(InputError, match=r"\(FancyKernel\) is not part of TensorFlow"):
        check_graph(directory)


def test_a_model_that_differs_is_found(tmp_path: Path) -> None:
    scenario = tiny_scenario()
    run, other = (random_run(scenario, tmp_path / "data", seed) for seed in (5, 6))
    save_signatures(run, tmp_path / "saved")
    sessions = random_sessions(scenario.features, run.assets, batch=4, behaviors=3, candidates=3, seed=0)
    assert check_scores(tmp_path / "saved", run, [sessions]) <= 1e-5
    with pytest.raises(InputError, match=r"differs from the trained one by .*max_score_difference 1e-05"):
        check_scores(tmp_path / "saved", other, [sessions])


def test_a_difference_of_logits_is_held_against_the_largest(tmp_path: Path) -> None:
    run = lifted_run(tmp_path / "data", "listwise", level=1000.0)
    save_signatures(run, tmp_path / "saved")
    sessions = random_sessions(run.scenario.features, run.assets, batch=4, behaviors=3, candidates=3, seed=0)
    (bias,) = run.model.experts.biases[-1:]
    bias.assign([[[1000.005]]])
    assert check_scores(tmp_path / "saved", run, [sessions]) == pytest.approx(5e-6, rel=0.1)
    bias.assign([[[1000.05]]])
    with pytest.raises(InputError, match=r"by 5e-05, .*max_score_difference 1e-05"):
        check_scores(tmp_path / "saved", run, [sessions])


@pytest.mark.parametrize("loss", ["pointwise", "listwise"])
def test_a_score_that_is_not_finite_is_found_beside_a_good_gate(loss: str, tmp_path: Path) -> None:
    run = lifted_run(tmp_path / "data", loss, level=float("nan"))
    save_signatures(run, tmp_path / "saved")
    sessions = random_sessions(run.scenario.features, run.assets, batch=4, behaviors=3, candidates=3, seed=0)
    with pytest.raises(InputError, match="by nan"):
        check_scores(tmp_path / "saved", run, [sessions])


def test_random_sessions_have_every_kind_of_value(tmp_path: Path) -> None:
    scenario = tiny_scenario()
    run = random_run(scenario, tmp_path / "data")
    raw = random_sessions(scenario.features, run.assets, batch=50, behaviors=6, candidates=4, seed=3)
    assert set(raw) == {spec.name for spec in scenario.features.score_inputs}
    brands = set(raw["candidate_brand"].numpy().flat)
    assert {b"", b"a value that nobody knows", b"brand_0"} <= brands
    assert np.isnan(raw["candidate_rating"]).any()
    assert not np.isnan(raw["candidate_price"]).any()
    assert (raw["candidate_price"].numpy() >= 0).all()
    assert set(raw["behavior_count"].numpy()) == set(range(7))
    assert set(raw["candidate_count"].numpy()) == set(range(1, 5))
