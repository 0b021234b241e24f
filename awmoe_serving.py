"""The commands that export a trained model, serve it and score with it; see docs/export.md and docs/serving.md."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from awmoe_options import DIRECTORY, FILE, load
from pipeline.errors import InputError

if TYPE_CHECKING:
    from pipeline.config import Scenario


@click.command()
@click.argument("run_directory", metavar="RUN", type=DIRECTORY)
@click.option("--output", required=True, type=DIRECTORY, help="Directory of models; gets <model name>/<version>/.")
@click.option("--data", type=DIRECTORY, help="Check on these test sessions too, beside random ones.")
@click.option("--version", type=click.IntRange(1), help="Default: one above the highest there.")
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Lay a value over the run's scenario, of its section `export` only.",
)
def export(
    run_directory: Path, output: Path, data: Path | None, version: int | None, overrides: tuple[str, ...]
) -> None:
    """Write the two-signature SavedModel, check it against the trained model, publish it (docs/export.md).

    Where the scenario has export.floors, the metrics in RUN/metrics.json must reach them; without
    that file, those of --data.

    \b
    Example:
      awmoe export runs/search --output models
      awmoe export runs/search --output models --data data/prepared --set export.floors.auc=0.75
    """
    from pipeline.quiet_tensorflow import quiet_tensorflow

    with quiet_tensorflow():
        from export.publish import export as run
        from export.score_difference import read_score_difference
        from model.run_directory import load_run
    from pipeline.prepared_data import PreparedData
    from pipeline.progress import progress_bar

    check_data = PreparedData.open(data) if data else None
    with progress_bar("exporting"):
        trained = load_run(run_directory)
        if overrides:
            trained = replace(trained, scenario=_with_export(run_directory, overrides))
        metrics_file = run_directory / "metrics.json"
        published = run(trained, output, version=version, check_data=check_data, metrics_file=metrics_file)
    click.echo(f"largest difference from the trained model's scores: {read_score_difference(published):.3g}")
    click.echo(f"written: {published}")


@click.command()
@click.argument("model_directory", metavar="MODEL", type=DIRECTORY)
def rollback(model_directory: Path) -> None:
    """Take MODEL's newest version back, so that servers answer from the one before (docs/export.md).

    The version is kept beside the others as .rolled-back-NUMBER, and no later export gets its number.
    Running servers follow within seconds; sessions that are open go on.

    \b
    Example:
      awmoe rollback models/awmoe
    """
    from export.rollback import rollback as run

    done = run(model_directory)
    click.echo(f"served now: {model_directory / str(done.served)}")
    click.echo(f"taken back: version {done.version}, kept as {done.kept}")


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("version_directory", metavar="MODEL_VERSION", type=DIRECTORY)
@click.option("--data", required=True, type=DIRECTORY, help="Output of `awmoe preprocess`.")
@click.option("--output", required=True, help="Directory for the scores, in Parquet; must be new or empty.")
@click.option(
    "--part",
    default="test",
    show_default=True,
    type=click.Choice(["train", "validation", "test", "new_items"]),
    help="Which sessions.",
)
@click.argument("beam_arguments", nargs=-1, type=click.UNPROCESSED)
def score(version_directory: Path, data: Path, output: str, part: Any, beam_arguments: tuple[str, ...]) -> None:
    """Score the sessions of prepared data with an exported model, with a Beam job (docs/batch-scoring.md).

    MODEL_VERSION is one version's directory, as `awmoe export` prints it. Anything else on the line
    goes to Beam, as of `awmoe preprocess`.

    \b
    Example:
      awmoe score models/awmoe/1 --data data/prepared --output data/scores
      awmoe score models/awmoe/1 --data data/prepared --output data/scores --part new_items --direct_num_workers=4
    """
    from pipeline.prepared_data import PreparedData
    from pipeline.progress import progress_bar
    from pipeline.quiet_tensorflow import quiet_tensorflow

    prepared = PreparedData.open(data)
    with quiet_tensorflow():
        from scoring.score import score as run
    with progress_bar("scoring"):
        summary = run(version_directory, prepared, output, part=part, pipeline_args=beam_arguments)
    metrics = {name: value for name, value in summary["metrics"].items() if name != "sessions" and value is not None}
    click.echo(f"{part}: {summary['sessions']:,} sessions, {summary['candidates']:,} candidates")
    click.echo(f"of {summary['metrics']['sessions']:,} sessions with both classes: {_listed(metrics)}")
    click.echo(f"written: {output}")


@click.command()
@click.argument("model_directory", metavar="MODEL", type=DIRECTORY)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8500, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one.")
@click.option("--rest-port", type=click.IntRange(0, 65535), help="REST and metrics; 0 takes a free one. Default: none.")
@click.option("--label", "labels", multiple=True, metavar="NAME=VERSION", help="Keep a version by name; repeatable.")
@click.option("--workers", type=click.IntRange(1), help="Batches run at the same time; default: the cores.")
@click.option(
    "--max-batch", default=32, show_default=True, type=click.IntRange(1), help="Most sessions that are run as one."
)
@click.option(
    "--max-waiting",
    default=128,
    show_default=True,
    type=click.IntRange(1),
    help="Requests in the queue; more are refused (RESOURCE_EXHAUSTED, 429).",
)
@click.option(
    "--timeout",
    default=30.0,
    show_default=True,
    type=click.FloatRange(0, min_open=True),
    help="Seconds for a request without a deadline of its own.",
)
@click.option(
    "--max-request-mib", default=64, show_default=True, type=click.IntRange(1, 1024), help="Size of one request."
)
@click.option("--tls-certificate", type=FILE, help="PEM: TLS for gRPC and REST. Needs --tls-key.")
@click.option("--tls-key", type=FILE, help="PEM: the certificate's key.")
@click.option("--tls-client-ca", type=FILE, help="PEM: answer only clients with a certificate that these signed.")
@click.option(
    "--drain",
    default=0.0,
    show_default=True,
    type=click.FloatRange(0),
    help="Seconds between reporting NOT_SERVING and taking no new requests.",
)
@click.option(
    "--grace",
    default=5.0,
    show_default=True,
    type=click.FloatRange(0),
    help="Seconds for requests in flight when it stops.",
)
def serve(
    model_directory: Path,
    host: str,
    port: int,
    rest_port: int | None,
    labels: tuple[str, ...],
    workers: int | None,
    max_batch: int,
    max_waiting: int,
    timeout: float,
    max_request_mib: int,
    tls_certificate: Path | None,
    tls_key: Path | None,
    tls_client_ca: Path | None,
    drain: float,
    grace: float,
) -> None:
    """Answer TensorFlow Serving's gRPC and REST calls from MODEL's versions, until stopped.

    MODEL is a directory of versions, as `awmoe export` writes; its name is the model's. The
    newest is served, labelled ones too, and after a switch the one before (docs/embedded-server.md).

    \b
    Example:
      awmoe serve models/awmoe --port 8500 --rest-port 8501
    """
    if (tls_certificate is None) != (tls_key is None):
        raise click.UsageError("give --tls-certificate and --tls-key together")
    if tls_client_ca is not None and tls_certificate is None:
        raise click.UsageError("--tls-client-ca needs --tls-certificate and --tls-key")
    versions = _labels(labels)
    # as many batches run at once as there are workers; a batch on several cores costs more than it gains
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
    from pipeline.quiet_tensorflow import quiet_tensorflow

    with quiet_tensorflow():
        from serving.server import ModelServer
        from serving.server_tls import ServerTls
    server = ModelServer(
        model_directory,
        host=host,
        port=port,
        rest_port=rest_port,
        labels=versions,
        workers=workers,
        max_batch=max_batch,
        max_waiting=max_waiting,
        seconds=timeout,
        max_request_bytes=max_request_mib * 2**20,
        tls=ServerTls(tls_certificate, tls_key, tls_client_ca) if tls_certificate and tls_key else None,
        drain=drain,
        grace=grace,
    )
    with server:
        click.echo(f"serving {server.model_name} version {server.version} on {server.target}")
        if server.rest_target:
            click.echo(f"REST on {'https' if tls_certificate else 'http'}://{server.rest_target}")
        server.wait()
    # All is answered. What libraries do at an interpreter's end can hang, with nothing left to save.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


@click.command()
@click.option("--server", default="127.0.0.1:8500", show_default=True, help="Address of the model server.")
@click.option("--model", help="Model name; default: the scenario's.")
@click.option("--data", required=True, type=DIRECTORY, help="Output of `awmoe preprocess`: items and as-of numbers.")
@click.option(
    "--session", "session_file", type=click.File("r"), help="JSON of the session to rank; - is standard input."
)
@click.option("--test-session", type=click.IntRange(0), help="Or: rank the test session with this number.")
@click.option("--top", default=10, show_default=True, type=click.IntRange(1))
@click.option("--timeout", default=5.0, show_default=True, help="Seconds for each call.")
@click.option("--wait", default=0.0, help="Wait this many seconds for a server that is still starting.")
@click.option("--json", "as_json", is_flag=True, help="One JSON line instead of a table.")
def rank(
    server: str,
    model: str | None,
    data: Path,
    session_file: Any,
    test_session: int | None,
    top: int,
    timeout: float,
    wait: float,
    as_json: bool,
) -> None:
    """Rank one session's candidates with a running server.

    \b
    A session is {"query": {...}, "user_id": "u1", "user": {...}, "candidates": ["i1", "i2"],
      "behaviors": [{"item_id": "i3", "action": "click", "age_days": 0.5}]}
    Where the scenario declares features.impression, candidates bring its fields:
      "candidates": [{"item_id": "i1", "position": 1}, {"item_id": "i2", "position": 2}]
    Example:
      awmoe rank --data data/prepared --test-session 0
    """
    if (session_file is None) == (test_session is None):
        raise click.UsageError("give either --session FILE or --test-session NUMBER")
    from pipeline.prepared_data import PreparedData
    from pipeline.quiet_tensorflow import quiet_tensorflow
    from pipeline.scenario_file import load_scenario

    prepared = PreparedData.open(data)
    scenario = load_scenario(prepared.scenario_path)
    with quiet_tensorflow():
        from serving.catalog import Catalog
        from serving.client import SessionRanker
        from serving.errors import RankingError
        from serving.ranking import rank_session
        from serving.recorded_session import recorded_session
    catalog = Catalog.open(prepared.serving, scenario)
    labels = None
    if test_session is not None:
        recorded = recorded_session(prepared, scenario.features, test_session)
        session, candidates, labels = recorded.session, recorded.candidates, recorded.labels
    else:
        session, candidates = catalog.complete(_json(session_file))
    try:
        with SessionRanker(
            server, scenario.features, model=model or scenario.export.model_name, timeout=timeout
        ) as ranker:
            if wait:
                ranker.wait_until_ready(wait)
            ranking = rank_session(ranker, catalog, session, candidates, labels)
    except RankingError as error:
        raise click.ClickException(str(error)) from None
    click.echo(json.dumps(ranking.as_dict(), allow_nan=False) if as_json else ranking.table(top))


COMMANDS = (export, rollback, score, serve, rank)


def _with_export(run_directory: Path, overrides: tuple[str, ...]) -> Scenario:
    """The run's scenario with another section `export`; the rest is what was trained."""
    for override in overrides:
        if override.partition("=")[0].partition(".")[0] != "export":
            raise InputError(f"`--set {override}`: only the section `export` can change; for the rest train again")
    return load(run_directory / "scenario.yaml", overrides)


def _listed(metrics: dict[str, float]) -> str:
    return ", ".join(f"{name.replace('_at_', '@')} {value:.4f}" for name, value in metrics.items()) or "no metrics"


def _labels(given: tuple[str, ...]) -> dict[str, int]:
    labels: dict[str, int] = {}
    for text in given:
        name, _, version = text.partition("=")
        if not name or not (version.isascii() and version.isdecimal()):
            raise click.UsageError(f"--label {text}: must be NAME=VERSION, such as canary=7")
        if labels.setdefault(name, int(version)) != int(version):
            raise click.UsageError(f"--label {name}: given twice, with versions {labels[name]} and {int(version)}")
    return labels


def _json(file: IO[str]) -> Any:
    try:
        return json.load(file)
    except ValueError as error:
        raise InputError(f"{file.name}: is no JSON: {error}") from None
