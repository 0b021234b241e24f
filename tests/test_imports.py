"""Imports follow the data: pipeline -> model -> export -> serving or scoring, never back."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
#: Each package with what it must never import.
STAGES = ["pipeline", "model", "export", "serving"]
#: What stands beside the stages and may use those named; no stage knows them. `scoring` is the other end of the
#: flow: it runs the exported model over many sessions, where `serving` answers for one.
BESIDE = {
    "scoring": {"pipeline", "model", "export"},
    "experiments": {"pipeline", "model"},
    "benchmarks": {*STAGES, "experiments"},
}


def imported_modules(path: Path) -> set[str]:
    """Every module named by an import statement of a file, at any depth of its code."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import; write the package's name"
            found.add(node.module)
    return found


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_imports_only_what_stands_left_of_it(stage: str) -> None:
    later = {*STAGES[STAGES.index(stage) + 1 :], *BESIDE, "awmoe", "tests"}
    files = sorted((ROOT / stage).rglob("*.py"))
    assert files, f"no files under {stage}/"
    for path in files:
        wrong = {module for module in imported_modules(path) if module.split(".")[0] in later}
        assert not wrong, f"{path.relative_to(ROOT)} imports {sorted(wrong)}, which comes later in the data flow"


@pytest.mark.parametrize("package", BESIDE)
def test_what_stands_beside_imports_what_it_may(package: str) -> None:
    ours = {*STAGES, *BESIDE, "awmoe", "tests"} - BESIDE[package] - {package}
    for path in sorted((ROOT / package).rglob("*.py")):
        wrong = {module for module in imported_modules(path) if module.split(".")[0] in ours}
        assert not wrong, f"{path.relative_to(ROOT)} imports {sorted(wrong)}; it may use {sorted(BESIDE[package])}"


@pytest.mark.parametrize("stage", ["model", "export", "serving", "experiments"])
def test_of_the_stages_only_the_pipeline_knows_beam(stage: str) -> None:
    """Beside them `scoring` does: it is a Beam job, and nothing that trains, exports or serves imports it."""
    for path in sorted((ROOT / stage).rglob("*.py")):
        wrong = {m for m in imported_modules(path) if m.split(".")[0] == "apache_beam"}
        assert not wrong, f"{path.relative_to(ROOT)} imports apache_beam"


def modules_after(statement: str) -> set[str]:
    """The modules loaded in a fresh interpreter after a statement."""
    code = f"{statement}; import sys; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(run.stdout.split())


def test_the_contract_loads_without_any_framework() -> None:
    loaded = modules_after("import pipeline.features, pipeline.config, pipeline.prepared_data")
    heavy = loaded & {"tensorflow", "apache_beam", "pyarrow", "pandas", "tfx_bsl"}
    assert not heavy, f"the contract imports {sorted(heavy)}"


def test_a_client_loads_neither_tensorflow_nor_keras() -> None:
    loaded = modules_after("import serving.client, serving.async_client, serving.request")
    light = {"numpy", "grpc", "google", "pydantic", "yaml", "cachetools"}
    heavy = {m.split(".")[0] for m in loaded} & {
        *("model", "export", "tensorflow", "keras", "tf_keras", "tensorflow_serving", "tensorflow_recommenders"),
        *("apache_beam", "pyarrow", "pandas"),
    }
    assert not heavy, f"the client imports {sorted(heavy)}; it needs {sorted(light)}"


def test_the_command_line_loads_no_stage() -> None:
    loaded = modules_after("import awmoe")
    heavy = {m for m in loaded if m.split(".")[0] in {*STAGES, *BESIDE, "tensorflow", "apache_beam", "numpy"}}
    assert heavy <= {"pipeline", "pipeline.errors"}, f"awmoe imports {sorted(heavy)[:5]}"


def test_every_module_of_the_command_line_is_installed_and_type_checked() -> None:
    modules = {path.stem for path in ROOT.glob("awmoe*.py")}
    setup = ast.parse((ROOT / "setup.py").read_text(encoding="utf-8"))
    (installed,) = (k.value for k in ast.walk(setup) if isinstance(k, ast.keyword) and k.arg == "py_modules")
    assert set(ast.literal_eval(installed)) == modules
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    assert {f"{module}.py" for module in modules} <= set(tools["mypy"]["files"])
    assert modules <= set(tools["ruff"]["lint"]["isort"]["known-first-party"])
