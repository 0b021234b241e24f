"""A run says which code made it."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from model.training.code_version import code_version

TRAINING = Path(__file__).parent.parent / "model/training"


def test_versions_of_what_computes() -> None:
    found = code_version()
    assert found["python"] == platform.python_version()
    assert found["tensorflow"].startswith("2.")


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_a_checkout_has_its_commit_and_whether_files_were_changed(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        named = ("-c", "user.name=n", "-c", "user.email=e")
        return subprocess.check_output(["git", *named, *arguments], cwd=tmp_path, text=True).strip()

    def found() -> dict[str, object]:
        command = "import sys, types; sys.modules['tensorflow'] = types.SimpleNamespace(__version__='2'); "
        command += (
            "import json; from model.training.code_version import code_version; print(json.dumps(code_version()))"
        )
        environment = {"PATH": str(Path(str(shutil.which("git"))).parent), "PYTHONPATH": str(tmp_path)}
        return dict(json.loads(subprocess.check_output([sys.executable, "-c", command], cwd=tmp_path, env=environment)))

    (tmp_path / "model/training").mkdir(parents=True)
    shutil.copy(TRAINING / "code_version.py", tmp_path / "model/training")
    assert "commit" not in found(), "it is no checkout"
    git("init", "--quiet")
    assert "commit" not in found(), "another repository's commit says nothing of this code"
    git("add", "model/training/code_version.py")
    git("commit", "--quiet", "-m", "first")
    assert (found()["commit"], found()["changed"]) == (git("rev-parse", "HEAD"), False)
    (tmp_path / "model/training/code_version.py").write_text((TRAINING / "code_version.py").read_text() + "\n")
    assert found()["changed"] is True
