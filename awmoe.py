"""The command line: one function a sub-command; each imports its stage when it is called.

A mistake the user can mend ends with one line on standard error and exit code 2.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

import awmoe_experiments
from awmoe_options import DIRECTORY, FILE, SET, load
from pipeline.errors import InputError

if TYPE_CHECKING:
    from pipeline.config import Scenario

OVERWRITE = click.option("--overwrite", is_flag=True, help="Replace an existing output directory.")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="aw-moe", prog_name="awmoe")
def cli() -> None:
    """AW-MoE: raw search logs in, ranked candidates out.

    \b
    The stages, in the order of the data:
      simulate -> preprocess [-> validate] -> train -> evaluate -> export [-> rollback] -> serve -> rank
    and `score` after export: many sessions at once, to files.
    `awmoe demo --output demo-output` runs them all on a simulated log.
    Experiments, which train many models: compare, ablate, gates, losses, sweep; then report.
    """


for command in awmoe_experiments.COMMANDS:
    cli.add_command(command)


@cli.command()
@click.option("--output", required=True, type=DIRECTORY, help="Directory for the raw log; must be new or empty.")
@click.option("--users", default=20_000, show_default=True, type=click.IntRange(1))
@click.option("--items", default=4_000, show_default=True, help="At least 400.")
@click.option("--days", default=60, show_default=True, type=click.IntRange(1), help="Length of the sessions' period.")
@click.option("--seed", default=7, show_default=True, help="The same arguments give the same log.")
@click.option(
    "--format", "file_format", default="parquet", show_default=True, type=click.Choice(["parquet", "jsonl", "jsonl.gz"])
)
def simulate(output: Path, users: int, items: int, days: int, seed: int, file_format: Any) -> None:
    """Write a simulated search log in the raw layout (docs/raw-log.md).

    The true purchase probability of every shown candidate goes to truth.parquet beside it.

    \b
    Example:
      awmoe simulate --output data/log --users 20000 --seed 7
    """
    from pipeline.progress import progress_bar
    from pipeline.simulate import simulate as run

    with progress_bar("users") as advance:
        summary = run(output, users=users, items=items, days=days, seed=seed, file_format=file_format, progress=advance)
    click.echo(f"{output}: {summary}")


@cli.command(context_settings={"ignore_unknown_options": True})
@click.argument("config", type=FILE)
@click.option("--input", "source", required=True, help="Directory of the raw log.")
@click.option("--output", required=True, help="Directory for records, vocabularies and manifest.")
@SET
@click.option(
    "--date-range",
    metavar="FIRST:LAST",
    help="Sessions of these days (UTC, both included). In an output that holds data they are added or redone; with "
    "--overwrite they replace all that it holds.",
)
@click.option(
    "--vocabularies-from",
    metavar="DIRECTORY",
    help="Keep the vocabularies and statistics of earlier prepared data, or of a run.",
)
@OVERWRITE
@click.argument("beam_arguments", nargs=-1, type=click.UNPROCESSED)
def preprocess(
    config: Path,
    source: str,
    output: str,
    overrides: tuple[str, ...],
    date_range: str | None,
    vocabularies_from: str | None,
    overwrite: bool,
    beam_arguments: tuple[str, ...],
) -> None:
    """Turn a raw log into TFRecords, one session a record, with a Beam job.

    Input and output are local, or on any file system that Beam knows (gs://, s3://, hdfs://).
    Anything else on the line goes to Beam: --direct_num_workers=4 takes four processes, which
    pays for logs that take minutes; other runners are named with --runner (docs/runners.md).

    \b
    Example:
      awmoe preprocess configs/search.yaml --input data/log --output data/prepared
      awmoe preprocess configs/search.yaml --input data/log --output data/prepared --date-range 2024-03-15
    """
    scenario = load(config, overrides)
    from pipeline.days import DateRange
    from pipeline.progress import progress_bar
    from pipeline.quiet_tensorflow import quiet_tensorflow

    days = DateRange.parse(date_range) if date_range is not None else None
    with quiet_tensorflow():
        from rich.console import Console

        from pipeline.balance import balance_table
        from pipeline.run import preprocess as run
    with progress_bar("preprocessing"):
        manifest = run(
            scenario,
            source,
            output,
            pipeline_args=beam_arguments,
            overwrite=overwrite,
            days=days,
            vocabularies_from=vocabularies_from,
        )
    Console().print(balance_table(manifest["runs"][-1]["balance"]))
    click.echo("the output now holds, with days of earlier runs:" if len(manifest["runs"]) > 1 else "the output holds:")
    for part, numbers in manifest["parts"].items():
        click.echo(f"{part:<11} {numbers['sessions']:>9,} sessions {numbers['candidates']:>11,} candidates")
    for warning in manifest["runs"][-1]["warnings"]:
        click.echo(f"warning: {warning}", err=True)
    click.echo(f"written: {output}")


@cli.command()
@click.argument("new", type=DIRECTORY)
@click.option("--against", "old", required=True, type=DIRECTORY, metavar="OLD", help="Prepared data known to be good.")
@click.option("--config", type=FILE, help="Scenario whose section `validation` applies; default: NEW's own.")
@SET
@click.option(
    "--part",
    "parts",
    multiple=True,
    type=click.Choice(["train", "validation", "test", "new_items"]),
    help="Compare this part only; may be repeated.",
)
@click.option("--all", "everything", is_flag=True, help="Show every measure, not only what is notable.")
@click.option("--json", "as_json", is_flag=True, help="One JSON line instead of a table.")
def validate(
    new: Path,
    old: Path,
    config: Path | None,
    overrides: tuple[str, ...],
    parts: Any,
    everything: bool,
    as_json: bool,
) -> None:
    """Compare prepared data with older prepared data before it trains (docs/validation.md).

    NEW and OLD are outputs of `awmoe preprocess`. Ends with exit code 0 if every measure is
    within its threshold, 1 if one is above, 2 if the data cannot be compared.

    \b
    Example:
      awmoe validate data/today --against data/yesterday --set validation.new_values=0.1
    """
    from rich.console import Console

    from pipeline.prepared_data import PARTS, PreparedData
    from pipeline.validation.validate import validate as run

    new_data, old_data = PreparedData.open(new), PreparedData.open(old)
    scenario = load(config or new_data.scenario_path, overrides)
    report = run(new_data, old_data, scenario.validation, parts or PARTS)
    if as_json:
        click.echo(json.dumps(report.as_dict(everything), allow_nan=False))
    else:
        # a log file has no width to keep to
        console = Console() if sys.stdout.isatty() else Console(width=180)
        if everything or report.notable:
            console.print(report.table(everything))
        click.echo(f"{new} against {old}: {report.summary()}")
    if report.above:
        sys.exit(1)


@cli.command()
@click.argument("config", type=FILE)
@click.option("--data", required=True, type=DIRECTORY, help="Output of `awmoe preprocess`.")
@click.option("--output", required=True, type=DIRECTORY, help="Run directory: weights and what they need.")
@SET
@OVERWRITE
@click.option("--skip-corrupt", is_flag=True, help="Leave out what cannot be read of a broken file, and count it.")
def train(
    config: Path, data: Path, output: Path, overrides: tuple[str, ...], overwrite: bool, skip_corrupt: bool
) -> None:
    """Train the model with Keras `fit`; keeps the epoch with the best validation AUC (docs/training.md).

    Stopped or killed, the same command continues from the last checkpoint.

    \b
    Example:
      awmoe train configs/search.yaml --data data/prepared --output runs/search
    """
    scenario = load(config, overrides)
    from pipeline.prepared_data import PreparedData
    from pipeline.quiet_tensorflow import quiet_tensorflow

    prepared = PreparedData.open(data)
    with quiet_tensorflow():
        from model.train import train as run
    run(
        scenario,
        prepared,
        output,
        overwrite=overwrite,
        skip_corrupt=skip_corrupt,
        # a bar for a person; one line an epoch for a log file
        verbose=1 if sys.stdout.isatty() else 2,
        tell=partial(click.echo, err=True),
    )
    click.echo(f"written: {output}")


@cli.command()
@click.argument("run_directory", metavar="RUN", type=DIRECTORY)
@click.option("--data", required=True, type=DIRECTORY, help="Output of `awmoe preprocess`.")
@click.option("--truth", type=FILE, help="truth.parquet of a simulated log: adds the oracle.")
@click.option("--output", type=FILE, help="JSON file; default RUN/metrics.json.")
def evaluate(run_directory: Path, data: Path, truth: Path | None, output: Path | None) -> None:
    """Rank the test sessions and report AUC and NDCG, in full and for the long tail.

    \b
    Example:
      awmoe evaluate runs/search --data data/prepared --truth data/log/truth.parquet
    """
    from pipeline.prepared_data import PreparedData
    from pipeline.progress import progress_bar
    from pipeline.quiet_tensorflow import quiet_tensorflow

    if output and not output.parent.is_dir():
        raise InputError(f"{output}: there is no directory {output.parent}")
    prepared = PreparedData.open(data)
    with quiet_tensorflow():
        from rich.console import Console

        from model.evaluate import evaluate as run
        from model.run_directory import load_run
    with progress_bar("scoring the test sessions"):
        evaluation = run(load_run(run_directory), prepared, truth=truth)
    output = output or run_directory / "metrics.json"
    evaluation.write(output)
    Console().print(evaluation.table())
    click.echo(f"written: {output}")


@cli.command()
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


@cli.command()
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


@cli.command(context_settings={"ignore_unknown_options": True})
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


@cli.command()
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
    newest is served, the one before it and labelled ones are kept (docs/embedded-server.md).

    \b
    Example:
      awmoe serve models/awmoe --port 8500 --rest-port 8501
    """
    if (tls_certificate is None) != (tls_key is None):
        raise click.UsageError("give --tls-certificate and --tls-key together")
    if tls_client_ca is not None and tls_certificate is None:
        raise click.UsageError("--tls-client-ca needs --tls-certificate and --tls-key")
    versions = _labels(labels)
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


def _labels(given: tuple[str, ...]) -> dict[str, int]:
    labels: dict[str, int] = {}
    for text in given:
        name, _, version = text.partition("=")
        if not name or not (version.isascii() and version.isdecimal()):
            raise click.UsageError(f"--label {text}: must be NAME=VERSION, such as canary=7")
        if labels.setdefault(name, int(version)) != int(version):
            raise click.UsageError(f"--label {name}: given twice, with versions {labels[name]} and {int(version)}")
    return labels


@cli.command()
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
    from pipeline.config import load_scenario
    from pipeline.prepared_data import PreparedData
    from pipeline.quiet_tensorflow import quiet_tensorflow

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


@cli.command()
@click.option("--output", required=True, type=DIRECTORY, help="Directory for everything the demo writes.")
@click.option("--users", default=20_000, show_default=True, type=click.IntRange(1), help="Users of the simulated log.")
@click.option("--epochs", type=click.IntRange(1), help="Default: the scenario's.")
@click.option("--seed", default=7, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="End with one JSON line.")
@OVERWRITE
def demo(output: Path, users: int, epochs: int | None, seed: int, as_json: bool, overwrite: bool) -> None:
    """Run the whole job on a simulated log: from raw events to lists ranked over gRPC.

    \b
    Example:
      awmoe demo --output demo-output
    """
    from awmoe_demo import run_demo

    run_demo(output, users=users, epochs=epochs, seed=seed, as_json=as_json, overwrite=overwrite)


def _with_export(run_directory: Path, overrides: tuple[str, ...]) -> Scenario:
    """The run's scenario with another section `export`; the rest is what was trained."""
    for override in overrides:
        if override.partition("=")[0].partition(".")[0] != "export":
            raise InputError(f"`--set {override}`: only the section `export` can change; for the rest train again")
    return load(run_directory / "scenario.yaml", overrides)


def _listed(metrics: dict[str, float]) -> str:
    return ", ".join(f"{name.replace('_at_', '@')} {value:.4f}" for name, value in metrics.items()) or "no metrics"


def _json(file: IO[str]) -> Any:
    try:
        return json.load(file)
    except ValueError as error:
        raise InputError(f"{file.name}: is no JSON: {error}") from None


def main() -> None:
    """The `awmoe` command."""
    try:
        cli()
    except InputError as error:
        for line in str(error).splitlines():
            click.echo(f"awmoe: {line}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
