"""The package sees to it that TensorFlow uses Keras 2, or says what to do."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if name != "TF_USE_LEGACY_KERAS"}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=clean | environment, capture_output=True, text=True, check=False
    )


def test_model_first_gives_keras_2() -> None:
    result = run_python("import model, tensorflow as tf; print(tf.keras.layers.Layer.__module__)")
    assert result.stdout.startswith("tf_keras."), result.stderr


@pytest.mark.parametrize(
    ("code", "environment"),
    [("import sys; sys.modules['tensorflow'] = sys; import model", {}), ("import model", {"TF_USE_LEGACY_KERAS": "0"})],
    ids=["tensorflow first", "switched off"],
)
def test_keras_3_is_refused_with_the_remedy(code: str, environment: dict[str, str]) -> None:
    result = run_python(code, **environment)
    assert "set TF_USE_LEGACY_KERAS=1" in result.stderr
    assert result.returncode != 0
