"""The whole job on a simulated log, as a first-time user would run it command by command."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from pipeline.errors import InputError
from pipeline.prepared_data import PreparedData
from pipeline.progress import progress_bar
from pipeline.quiet_tensorflow import quiet_tensorflow
from pipeline.scenario_file import load_scenario

if TYPE_CHECKING:
    from serving.recorded_session import RecordedSession

CONFIG = Path(__file__).parent / "configs" / "search.yaml"
RESULT = "result.json"
#: Written first; only a directory with it may be replaced.
MARKER = ".awmoe-demo"
#: In the order of the result.
RANKINGS = ("model", "popularity", "oracle")
#: Sessions looked through for the two users who are shown.
_SEARCHED = 5_000
_OLD_USER_BEHAVIORS = 10


def run_demo(
    output: Path,
    *,
    users: int,
    epochs: int | None = None,
    seed: int = 7,
    as_json: bool = False,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Simulates, preprocesses, trains, evaluates, exports, serves and ranks; prints a short result.

    Args:
        output: gets `log/`, `prepared/`, `run/`, `models/` and `result.json`.
        users: users of the simulated log.
        epochs: of the training; None: the scenario's.
        seed: of the simulation.
        as_json: end with the result as one JSON line.
        overwrite: replace what an earlier demo wrote.

    Returns:
        The result: `auc`, `popularity_auc`, `oracle_auc`, `seconds`, `model_dir`.

    Raises:
        InputError: `output` holds something, and no demo made it or `overwrite` is not set.
    """
    started = time.monotonic()
    # stdout belongs to the JSON line, if asked for
    console = Console(stderr=as_json, highlight=False)
    log, prepared, run_directory, models = (output / name for name in ("log", "prepared", "run", "models"))
    _clear(output, overwrite)
    output.mkdir(parents=True, exist_ok=True)
    (output / MARKER).touch()
    scenario = load_scenario(CONFIG, [f"training.epochs={epochs}"] if epochs else [])

    with _step(console, "simulate a search log", f"awmoe simulate --output {log} --users {users} --seed {seed}"):
        from pipeline.simulate import TRUTH, simulate

        with progress_bar("users") as advance:
            summary = simulate(log, users=users, seed=seed, progress=advance)
        console.print(f"  {summary}")

    with _step(
        console,
        "preprocess it with Beam",
        f"awmoe preprocess {_shown(CONFIG)} --input {log} --output {prepared}",
    ):
        with quiet_tensorflow():
            from pipeline.run import preprocess
        with progress_bar("preprocessing"):
            preprocess(scenario, str(log), str(prepared))
    data = PreparedData.open(prepared)

    with _step(
        console,
        "train with Keras fit",
        f"awmoe train {_shown(CONFIG)} --data {prepared} --output {run_directory}",
    ):
        with quiet_tensorflow():
            from model.training.train import train
        train(scenario, data, run_directory, verbose=1 if sys.stdout.isatty() else 2)

    with _step(
        console,
        "evaluate on the test sessions",
        f"awmoe evaluate {run_directory} --data {prepared} --truth {log / TRUTH}",
    ):
        from model.evaluate import evaluate
        from model.run_directory import METRICS, load_run

        run = load_run(run_directory)
        with progress_bar("scoring the test sessions"):
            evaluation = evaluate(run, data, truth=log / TRUTH)
        evaluation.write(run_directory / METRICS)

    with _step(console, "export a SavedModel", f"awmoe export {run_directory} --output {models} --data {prepared}"):
        from export.publish import export

        with progress_bar("exporting"):
            published = export(run, models, check_data=data, metrics_file=run_directory / METRICS)

    model = published.parent
    with _step(console, "serve it and rank new sessions over gRPC", f"awmoe serve {model}"):
        from serving.catalog import Catalog
        from serving.client import SessionRanker
        from serving.ranking import rank_session
        from serving.server import ModelServer

        catalog = Catalog.open(data.serving, scenario)
        shown = _two_users(data, scenario)
        rankings = []
        with ModelServer(model) as server, SessionRanker(server.target, scenario.features, timeout=30) as ranker:
            for title, _, recorded in shown:
                ranking = rank_session(ranker, catalog, recorded.session, recorded.candidates, recorded.labels)
                rankings.append(ranking.table(5, title))

    auc, popularity, oracle = (float(evaluation.metrics["full"][name]["auc"] or 0) for name in RANKINGS)
    seconds = round(time.monotonic() - started, 1)
    result = {
        "auc": auc,
        "popularity_auc": popularity,
        "oracle_auc": oracle,
        "seconds": seconds,
        "model_dir": str(model),
        "version": version("aw-moe"),
    }
    (output / RESULT).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    console.rule("result")
    console.print(evaluation.table())
    for text in rankings:
        console.print(text, markup=False)
    console.print(
        f"Session AUC {auc:.4f}: popularity ranking has {popularity:.4f}, the simulator's true probabilities "
        f"{oracle:.4f}.\nThe model covers {(auc - popularity) / (oracle - popularity):.0%} of the way; "
        f"{oracle - auc:.4f} are left to the oracle. Took {seconds:.0f} s."
    )
    console.print("\nType next:")
    old = shown[0][1]
    for command in (
        f"awmoe serve {model} --port 8500 &",
        f"awmoe rank --data {prepared} --test-session {old} --wait 60",
        f"awmoe evaluate {run_directory} --data {prepared} --truth {log / TRUTH}",
        f"awmoe train {_shown(CONFIG)} --data {prepared} --output {output / 'run-raw-gate'} --set model.gate.form=raw",
    ):
        console.print(f"  .venv/bin/{command}", soft_wrap=True, markup=False)
    if as_json:
        print(json.dumps(result))
    return result


def _clear(output: Path, overwrite: bool) -> None:
    if not output.exists() or not any(output.iterdir()):
        return
    if not overwrite:
        raise InputError(f"{output}: is not empty; name a new directory, or replace an earlier demo with --overwrite")
    if not (output / MARKER).exists():
        raise InputError(f"{output}: is not empty and no demo made it; name another directory")
    shutil.rmtree(output)


@contextmanager
def _step(console: Console, what: str, command: str) -> Iterator[None]:
    started = time.monotonic()
    console.print(f"[bold]{what}[/bold]  [dim]{command}[/dim]", soft_wrap=True)
    yield
    console.print(f"  done in {time.monotonic() - started:.1f} s")


def _two_users(data: PreparedData, scenario: Any) -> list[tuple[str, int, RecordedSession]]:
    """The first test session with a purchase of a user with many behaviours, and of one with none."""
    from serving.recorded_session import recorded_sessions

    wanted = {
        "An old user": lambda count: count >= _OLD_USER_BEHAVIORS,
        "A new user": lambda count: count == 0,
    }
    found = {}
    for number, recorded in enumerate(islice(recorded_sessions(data, scenario.features), _SEARCHED)):
        for title, fits in wanted.items():
            if title not in found and fits(len(recorded.session.behaviors)) and 0 < recorded.labels.mean() < 1:
                found[title] = (title, number, recorded)
        if len(found) == len(wanted):
            break
    return [found[title] for title in wanted if title in found]


def _shown(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
