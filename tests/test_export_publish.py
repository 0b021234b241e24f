"""The export: two signatures, the trained model's scores, and a version that is whole or not there."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from random_run import random_run

from export.publish import export
from export.scenario_asset import read_scenario_asset
from model.run_directory import Run
from pipeline.errors import InputError
from tiny_data import random_raw_sessions, tiny_scenario, write_tiny_data

#: Runs in a process of its own that knows the SavedModel and nothing of this project.
SCORE_ELSEWHERE = """
import sys
import numpy as np
import tensorflow as tf
model, inputs, outputs = sys.argv[1:]
signatures = tf.saved_model.load(model).signatures
raw = {name: tf.constant(values) for name, values in np.load(inputs, allow_pickle=True).items()}
names = signatures["session_gate"].structured_input_signature[1]
gate = signatures["session_gate"](**{name: raw[name] for name in names})["gate"]
scores = signatures["score_items"](gate=gate, **raw)["scores"]
np.savez(outputs, gate=gate, scores=scores)
assert not any(name.split(".")[0] in ("model", "export", "pipeline") for name in sys.modules)
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return random_run(tiny_scenario(), tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def version(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(run, tmp_path_factory.mktemp("models"))


def test_there_are_two_signatures_of_the_declared_inputs_and_open_shapes(run: Run, version: Path) -> None:
    signatures = tf.saved_model.load(str(version)).signatures
    assert set(signatures) == {"session_gate", "score_items"}

    features = run.scenario.features
    expected = {spec.name: (spec.dtype, bool(spec.axis)) for spec in features.score_inputs} | {
        "gate": ("float32", True)
    }
    gate_names = {spec.name for spec in features.gate_inputs}
    for name, wanted in (("session_gate", {n: expected[n] for n in gate_names}), ("score_items", expected)):
        inputs = signatures[name].structured_input_signature[1]
        assert {n: (spec.dtype.name, spec.shape.rank == 2) for n, spec in inputs.items()} == wanted
        outputs = signatures[name].structured_outputs
        for tensor, spec in {**inputs, **outputs}.items():
            assert spec.shape[0] is None, f"{tensor} of {name} has a fixed number of sessions"
    assert list(signatures["session_gate"].structured_outputs) == ["gate"]
    assert list(signatures["score_items"].structured_outputs) == ["scores"]


def test_another_process_gets_the_trained_scores_without_the_training_data(tmp_path: Path) -> None:
    scenario = tiny_scenario()
    run = random_run(scenario, tmp_path / "data")
    raw = random_raw_sessions(scenario, batch=6, behaviors=7, candidates=9, seed=1)
    encoded = run.preprocessing({name: tf.constant(values) for name, values in raw.items()})
    gate = run.model.session_gate(encoded)
    scores = run.model.scores(run.model.score_items(encoded, gate))
    real = np.arange(9) < raw["candidate_count"][:, None]
    assert np.std(scores.numpy()[real]) > 0.05, "the scores hardly differ, so equality would show little"

    model = export(run, tmp_path / "models")
    shutil.rmtree(tmp_path / "data")
    np.savez(tmp_path / "inputs.npz", **raw)  # type: ignore[arg-type]  # its stub takes `allow_pickle` for the rest
    command = [sys.executable, "-c", SCORE_ELSEWHERE, str(model), "inputs.npz", "outputs.npz"]
    elsewhere = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert elsewhere.returncode == 0, elsewhere.stderr
    outputs = np.load(tmp_path / "outputs.npz")
    np.testing.assert_allclose(outputs["gate"], gate, atol=1e-5)
    np.testing.assert_allclose(outputs["scores"][real], scores.numpy()[real], atol=1e-5)


def test_padding_with_the_first_element_never_changes_a_score(run: Run, version: Path) -> None:
    """As TensorFlow Serving pads when it joins requests of several lengths."""
    signatures = tf.saved_model.load(str(version)).signatures
    raw = random_raw_sessions(run.scenario, batch=4, behaviors=3, candidates=5, seed=2)
    axes = {spec.name: spec.axis for spec in run.scenario.features.score_inputs}
    padded = {
        name: np.pad(values, ((0, 0), (0, 4)), constant_values=values.flat[0]) if axes[name] else values
        for name, values in raw.items()
    }

    def score(inputs: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        tensors = {name: tf.constant(values) for name, values in inputs.items()}
        gate_inputs = {spec.name: tensors[spec.name] for spec in run.scenario.features.gate_inputs}
        gate = signatures["session_gate"](**gate_inputs)["gate"]
        return gate.numpy(), signatures["score_items"](gate=gate, **tensors)["scores"].numpy()

    (gate, scores), (padded_gate, padded_scores) = score(raw), score(padded)
    real = np.arange(5) < raw["candidate_count"][:, None]
    np.testing.assert_allclose(padded_gate, gate, atol=1e-6)
    np.testing.assert_allclose(padded_scores[:, :5][real], scores[real], atol=1e-6)


def test_versions_count_up_and_never_change(run: Run, version: Path) -> None:
    output = version.parent.parent
    assert version == output / "awmoe" / "1"
    (version.parent / "not-a-version").mkdir(exist_ok=True)

    assert export(run, output, version=20).name == "20"
    assert export(run, output).name == "21"
    with pytest.raises(InputError, match=r"20: exists already.*choose another version"):
        export(run, output, version=20)
    assert {path.name for path in version.parent.iterdir()} == {"1", "20", "21", "not-a-version"}


def test_the_version_carries_its_scenario(run: Run, version: Path) -> None:
    assert read_scenario_asset(version) == run.scenario


def test_test_sessions_are_compared_too(run: Run, tmp_path: Path) -> None:
    prepared = write_tiny_data(tmp_path / "data", run.scenario, sessions=8)
    assert export(run, tmp_path / "models", check_data=prepared).is_dir()

    Path(prepared.files("test")[0]).unlink()
    with pytest.raises(InputError, match=r"named by manifest\.json and not there"):
        export(run, tmp_path / "models", check_data=prepared)


def test_a_failed_check_leaves_nothing(run: Run, tmp_path: Path) -> None:
    for variable in (broken := random_run(run.scenario, tmp_path / "data")).model.trainable_variables:
        variable.assign(tf.fill(variable.shape, np.nan))
    with pytest.raises(InputError, match="differs from the trained one by nan"):
        export(broken, tmp_path / "models")
    assert list((tmp_path / "models" / "awmoe").iterdir()) == []


def test_a_gate_on_the_target_item_cannot_be_exported(run: Run, tmp_path: Path) -> None:
    scenario = tiny_scenario(model={"gate": {"context": "target_item"}})
    with pytest.raises(InputError, match=r"target_item.*no session gate.*train with model.gate.context: query"):
        export(replace(run, scenario=scenario), tmp_path / "models")
    assert not (tmp_path / "models").exists()


def test_a_directory_that_cannot_be_written_is_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file")
    with pytest.raises(InputError, match=r"models.*cannot be written"):
        export(run, tmp_path / "models")
