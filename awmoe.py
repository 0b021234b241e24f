"""The command line: one function a sub-command; each imports its stage when it is called.

A mistake the user can mend ends with one line on standard error and exit code 2.
"""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import awmoe_experiments
import awmoe_serving
from awmoe_options import DIRECTORY, FILE, SET, load
from pipeline.errors import InputError

if TYPE_CHECKING:
    from pipeline.prepared_data import PreparedData

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


for command in (*awmoe_serving.COMMANDS, *awmoe_experiments.COMMANDS):
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
@click.option("--data", required=True, type=DIRECTORY, help="Output of `awmoe preprocess` with the same features.")
@click.option("--output", required=True, type=DIRECTORY, help="Run directory; new, or of a training to continue.")
@click.option(
    "--warm-start", type=DIRECTORY, metavar="RUN", help="Start from this run's weights, and its optimizer's state."
)
@click.option(
    "--date-range", metavar="FIRST:LAST", help="Train on the training sessions of these days (UTC) alone, or one day."
)
@SET
@OVERWRITE
@click.option("--skip-corrupt", is_flag=True, help="Leave out what cannot be read of a broken file, and count it.")
@click.option(
    "--tensorboard/--no-tensorboard", default=True, show_default=True, help="Write curves and embeddings for it."
)
@click.option(
    "--strategy",
    default="none",
    show_default=True,
    type=click.Choice(["none", "mirrored", "multi_worker"]),
    help="One device, all GPUs of this machine, or those of the machines that TF_CONFIG names.",
)
def train(
    config: Path,
    data: Path,
    output: Path,
    warm_start: Path | None,
    date_range: str | None,
    overrides: tuple[str, ...],
    overwrite: bool,
    skip_corrupt: bool,
    tensorboard: bool,
    strategy: Any,
) -> None:
    """Train the ranking model that CONFIG describes on prepared sessions (docs/training.md).

    In: the scenario file CONFIG, and the records and vocabularies that `awmoe preprocess` made with it. Out: a
    directory with the weights of the epoch that ranks the validation part best (session AUC), and all that
    `awmoe evaluate` and `awmoe export` need beside them.

    Before it begins, it shows what the embedding tables take. Stopped or killed, the same command continues it.
    To watch it, in another terminal: tensorboard --logdir RUN/tensorboard

    \b
    The keys most often set (--set KEY=VALUE, or in CONFIG; all are in pipeline/config.py):
      model.name                    aw_moe_cl, aw_moe, category_moe, din, dnn
      training.epochs               3; how often all sessions are seen
      training.batch_size           512 sessions a step; fewer where there are few sessions (configs/search.yaml: 128)
      training.checkpoint_steps     1000; fewer where an epoch has fewer and may be interrupted
      training.early_stopping       epochs without a better validation AUC after which it ends
      training.dense_learning_rate  0.003; lower where the loss is no longer finite
      training.loss                 pointwise (scores are probabilities), listwise, pairwise
      training.table_optimizer      adagrad, lazy_adamw
      training.precision            float32, mixed_bfloat16 (faster on CPUs with AMX and new GPUs)
      training.seed                 17; another one tells how much is chance
      model.embedding_dimension     16; the size of the tables goes with it

    \b
    Examples:
      awmoe train configs/search.yaml --data data/prepared --output runs/search
      awmoe train configs/search.yaml --data data/prepared --output runs/long --set training.epochs=20 \\
          --set training.early_stopping=2 --set training.warmup_steps=200
      awmoe evaluate runs/search --data data/prepared
      awmoe train my.yaml --data data/prepared --output runs/today --warm-start runs/yesterday --date-range 2024-03-16
    """
    scenario = load(config, overrides)
    from pipeline.days import DateRange
    from pipeline.prepared_data import PreparedData
    from pipeline.quiet_tensorflow import quiet_tensorflow

    prepared = PreparedData.open(data)
    if date_range is not None:
        prepared = prepared.with_training_days(DateRange.parse(date_range))
    tell = partial(click.echo, err=True)
    with quiet_tensorflow():
        from rich.console import Console

        from model.run_directory import MARKER
        from model.training.distribution import distribution_strategy
        from model.training.train import train as run

        distribution = distribution_strategy(strategy, tell)
    try:
        run(
            scenario,
            prepared,
            output,
            warm_start=warm_start,
            overwrite=overwrite,
            skip_corrupt=skip_corrupt,
            strategy=distribution,
            # a bar for a person; one line an epoch for a log file
            verbose=1 if sys.stdout.isatty() else 2,
            tell=tell,
            show=lambda sizes: Console().print(_training_part(prepared), sizes, sep="\n", highlight=False),
            tensorboard=tensorboard,
        )
    except KeyboardInterrupt:
        without = " without --overwrite" if overwrite else ""
        tell(f"{output}: stopped; the same command{without} continues from the last checkpoint")
        sys.exit(130)
    marker = json.loads((output / MARKER).read_text())
    value = marker["metrics"].get("val_session_auc")
    auc = "no validation part, so the last" if value is None else f"validation session AUC {value:.4f}"
    click.echo(f"kept: epoch {marker['best_epoch']} of {marker['epochs']} ({auc})")
    click.echo(f"written: {output}; next: awmoe evaluate {output} --data {data}")


def _training_part(prepared: PreparedData) -> str:
    days = prepared.days("train")
    when = f"{len(days):,} days, {days[0]} to {days[-1]}" if len(days) > 1 else f"the days: {', '.join(days)}"
    return f"training part: {prepared.sessions('train'):,} sessions of {when}"


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
        from model.run_directory import METRICS, load_run
    with progress_bar("scoring the test sessions"):
        evaluation = run(load_run(run_directory), prepared, truth=truth)
    output = output or run_directory / METRICS
    evaluation.write(output)
    Console().print(evaluation.table())
    click.echo(f"written: {output}")


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
