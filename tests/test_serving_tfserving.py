"""The client against TensorFlow Serving itself, with batching; skipped without one (`make test-tfserving`).

`TF_MODEL_SERVER` names a `tensorflow_model_server`; without it the image of `serving/deploy/compose.yaml` is run where
Docker answers.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import yaml
from random_run import random_run

from export.publish import export
from export.rollback import rollback
from model.run_directory import Run
from serving.client import SessionRanker
from serving.errors import RankingError
from serving.request import Session
from tiny_data import tiny_scenario

DEPLOY = Path(__file__).parent.parent / "serving" / "deploy"
SKIPPED = (
    "no TensorFlow Serving: set TF_MODEL_SERVER to a tensorflow_model_server binary, or install Docker and start it, "
    "then `make test-tfserving`"
)
SESSION = Session(
    behaviors=[
        {"item_id": f"item_{i}", "brand": f"brand_{i}", "price": 3.0 + i, "action": "action_1", "age_days": 0.5 * i}
        for i in range(3)
    ],
    query={"terms": "term_1 term_2"},
    user={"age_group": "age_group_1", "activity": 12},
)
NEW_USER = Session(query={"terms": "term_1"}, user={"activity": 0})
PAGE = [
    {"item_id": f"item_{i}", "brand": f"brand_{i}", "tags": "tag_1|tag_2", "price": 2.0 * i, "item_purchases": i}
    for i in range(9)
]


def server_command(models: Path, config: Path, port: int, name: str) -> list[str] | None:
    """What starts a server on `models/awmoe`, in the foreground; None where there is none."""
    flags = [
        "--model_config_file={config}/models.config",
        "--allow_version_labels_for_unavailable_models=true",
        "--enable_batching=true",
        "--batching_parameters_file={config}/batching.config",
        "--file_system_poll_wait_seconds=1",
    ]
    if binary := os.environ.get("TF_MODEL_SERVER"):
        found = shutil.which(binary)
        assert found, f"TF_MODEL_SERVER={binary}: no such program"
        return [found, f"--port={port}", *(flag.format(config=config) for flag in flags)]
    if shutil.which("docker") and not subprocess.run(["docker", "info"], capture_output=True, check=False).returncode:
        image = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))["services"]["ranking"]["image"]
        places = ["-v", f"{models}:{models}:ro", "-v", f"{config}:/config:ro"]
        docker = ["docker", "run", "--rm", "--name", name, "-p", f"127.0.0.1:{port}:{port}", *places]
        entry = ["--entrypoint", "tensorflow_model_server", image, f"--port={port}"]
        return [*docker, *entry, *(flag.format(config="/config") for flag in flags)]
    return None


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run]:
    """The runs behind versions 1 and 2."""
    scenario, data = tiny_scenario(), tmp_path_factory.mktemp("data")
    return random_run(scenario, data, seed=5), random_run(scenario, data, seed=6)


@pytest.fixture
def served(runs: tuple[Run, Run], tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A directory of models with version 1, and the address of a server on it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    models, config, name = tmp_path / "models", tmp_path / "config", f"awmoe-test-{uuid.uuid4().hex[:8]}"
    command = server_command(models, config, port, name)
    assert command is not None
    export(runs[0], models)
    config.mkdir()
    # as deployed, but for the place of the models and fixed labels
    text = (DEPLOY / "models.config").read_text(encoding="utf-8").replace("/models/awmoe", str(models / "awmoe"))
    (config / "models.config").write_text(text, encoding="utf-8")
    shutil.copy(DEPLOY / "batching.config", config)
    with (tmp_path / "server.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            with ranker(f"127.0.0.1:{port}") as client:
                client.wait_until_ready(120)
            yield models, f"127.0.0.1:{port}"
        except BaseException:
            print((tmp_path / "server.log").read_text())
            raise
        finally:
            if command[0] == "docker":
                subprocess.run(["docker", "stop", name], capture_output=True, check=False)
            process.terminate()
            process.wait(timeout=30)


needs_server = pytest.mark.skipif(
    server_command(Path("/models"), Path("/config"), 8500, "awmoe-test") is None, reason=SKIPPED
)


def ranker(target: str, **options: Any) -> SessionRanker:
    return SessionRanker(target, tiny_scenario().features, **{"timeout": 20.0, **options})


def trained_scores(run: Run, session: Session, candidates: list[dict[str, Any]]) -> np.ndarray:
    """The model's own scores, [N]."""
    raw = {}
    for feature in run.scenario.features.encoded:
        numeric = feature.spec.dtype == "float32"
        missing: Any = np.nan if numeric else ""
        if feature.spec.axis:
            rows = session.behaviors if feature.spec.axis == "T" else candidates
            values: Any = [[row.get(feature.field, missing) for row in rows] or [0.0 if numeric else ""]]
        else:
            values = [(session.query if feature.group == "query" else session.user).get(feature.field, missing)]
        raw[feature.name] = tf.constant(np.array(values, np.float32 if numeric else object))
    raw["behavior_count"] = tf.constant([len(session.behaviors)], tf.int64)
    raw["candidate_count"] = tf.constant([len(candidates)], tf.int64)
    return np.asarray(run.model.scores(run.model(run.preprocessing(raw)))[0])


def wait_for(client: SessionRanker, version: int) -> None:
    deadline = time.monotonic() + 60
    while client.open_session(SESSION).version != version:
        assert time.monotonic() < deadline, f"version {version} is not served within a minute"
        time.sleep(0.5)


@needs_server
def test_pages_of_sessions_that_share_batches_get_the_trained_scores(
    runs: tuple[Run, Run], served: tuple[Path, str]
) -> None:
    _, target = served
    expected = {id(session): trained_scores(runs[0], session, PAGE) for session in (SESSION, NEW_USER)}
    assert all(np.ptp(scores) > 0.02 for scores in expected.values()), "the candidates hardly differ"

    def ask(number: int) -> None:
        session = NEW_USER if number % 3 == 0 else SESSION
        opened = client.open_session(session)
        assert (opened.gate.shape, opened.version) == ((3,), 1)
        cut = 1 + number % 8
        scores = np.concatenate([opened.score(PAGE[:cut]), opened.score(PAGE[cut:])])
        np.testing.assert_allclose(scores, expected[id(session)], atol=1e-5)

    # several at once, of several lengths, so that the server joins and pads them
    with ranker(target, page_size=4) as client, ThreadPoolExecutor(16) as threads:
        list(threads.map(ask, range(64)))


@needs_server
def test_a_session_goes_on_through_roll_out_and_rollback(runs: tuple[Run, Run], served: tuple[Path, str]) -> None:
    models, target = served
    first, second = (trained_scores(run, SESSION, PAGE) for run in runs)
    with ranker(target) as client, ranker(target, version_label="stable") as stable:
        opened = client.open_session(SESSION)
        export(runs[1], models)
        wait_for(client, 2)
        np.testing.assert_allclose(opened.score(PAGE), first, atol=1e-5)
        assert opened.version == 1, "the version before stays loaded"
        assert stable.open_session(SESSION).version == 1
        later = client.open_session(SESSION)
        np.testing.assert_allclose(later.score(PAGE), second, atol=1e-5)

        assert rollback(models / "awmoe").served == 1
        wait_for(client, 1)
        # the server drops version 2 at a time of its own: until then its scores, after that those of version 1
        deadline = time.monotonic() + 60
        while later.score(PAGE) is not None and later.version == 2:
            assert time.monotonic() < deadline, "version 2 is still loaded after a minute"
            time.sleep(0.5)
        np.testing.assert_allclose(later.score(PAGE), first, atol=1e-5)


@needs_server
def test_a_model_of_another_name_is_not_found(served: tuple[Path, str]) -> None:
    with ranker(served[1], model="other") as client, pytest.raises(RankingError) as caught:
        client.open_session(SESSION)
    assert caught.value.code == "NOT_FOUND"
