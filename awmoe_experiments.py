"""The commands that train many models and look into them; see docs/experiments.md and docs/report.md."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from awmoe_options import DIRECTORY, FILE, SET, load
from pipeline.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table

    from experiments.comparison import Comparison

SEEDS = click.option(
    "--seeds", default=5, show_default=True, type=click.IntRange(1), help="Train each with so many seeds: 1, 2, ..."
)
JOBS = click.option(
    "--jobs",
    default=1,
    show_default=True,
    type=click.IntRange(1),
    help="Train so many at a time; they share the cores.",
)
SIZE = click.option(
    "--size",
    default="equal",
    show_default=True,
    type=click.Choice(["equal", "config"]),
    help="equal: experts as wide as gives all the same number of dense weights; config: as the scenario says.",
)
TRUTH = click.option(
    "--truth", type=FILE, help="truth.parquet of a simulated log: how much of the possible is reached."
)
DATA = click.option("--data", required=True, type=DIRECTORY, help="Output of `awmoe preprocess`.")
EXPERIMENT = click.option(
    "--output", required=True, type=DIRECTORY, help="The experiment's directory. What is done there is not done again."
)


@click.command()
@click.argument("config", type=FILE)
@DATA
@EXPERIMENT
@click.option(
    "--models",
    default="dnn,din,category_moe,aw_moe,aw_moe_cl",
    show_default=True,
    help="What to compare, a baseline first.",
)
@SEEDS
@SIZE
@TRUTH
@JOBS
@SET
def compare(
    config: Path,
    data: Path,
    output: Path,
    models: str,
    seeds: int,
    size: Any,
    truth: Path | None,
    jobs: int,
    overrides: tuple[str, ...],
) -> None:
    """Train the models with several seeds and compare them (the paper's Tables II to IV).

    Writes comparison.json: metrics on the full test part and on each slice, with their spread over
    seeds, and for each pair of models the difference, its interval and p-values. Stopped, the same
    command goes on where it was; docs/experiments.md says more.

    \b
    Example:
      awmoe compare configs/search.yaml --data data/prepared --output runs/models
    """
    from pipeline.prepared_data import PreparedData
    from pipeline.quiet_tensorflow import quiet_tensorflow

    scenario, prepared = load(config, overrides), PreparedData.open(data)
    names: Any = [name.strip() for name in models.split(",")]
    with quiet_tensorflow():
        from experiments.compare import compare as run
    _show_comparison(
        run(scenario, prepared, output, models=names, seeds=seeds, size=size, jobs=jobs, truth=truth), output
    )


@click.command()
@click.argument("config", type=FILE)
@DATA
@EXPERIMENT
@SEEDS
@SIZE
@TRUTH
@JOBS
@SET
def ablate(
    config: Path,
    data: Path,
    output: Path,
    seeds: int,
    size: Any,
    truth: Path | None,
    jobs: int,
    overrides: tuple[str, ...],
) -> None:
    """Train AW-MoE without and with the two units of its gate (the paper's Table VI).

    base has neither, then come the gate unit, the activation unit, and both. Writes comparison.json,
    as `awmoe compare` does.

    \b
    Example:
      awmoe ablate configs/search.yaml --data data/prepared --output runs/units
    """
    from pipeline.prepared_data import PreparedData
    from pipeline.quiet_tensorflow import quiet_tensorflow

    scenario, prepared = load(config, overrides), PreparedData.open(data)
    with quiet_tensorflow():
        from experiments.ablate import ablate as run
    _show_comparison(run(scenario, prepared, output, seeds=seeds, size=size, jobs=jobs, truth=truth), output)


@click.command()
@click.argument("config", type=FILE)
@DATA
@EXPERIMENT
@SEEDS
@TRUTH
@JOBS
@SET
def losses(**options: Any) -> None:
    """Train the scenario's model with each ranking loss: pointwise, listwise, pairwise.

    Writes comparison.json, as `awmoe compare` does.

    \b
    Example:
      awmoe losses configs/search.yaml --data data/prepared --output runs/losses
    """
    _each_value("losses", **options)


@click.command()
@click.argument("config", type=FILE)
@DATA
@EXPERIMENT
@SEEDS
@TRUTH
@JOBS
@SET
def gates(**options: Any) -> None:
    """Train AW-MoE with each form of its gate: raw (eq. 8), softmax, scaled.

    Writes comparison.json, as `awmoe compare` does.

    \b
    Example:
      awmoe gates configs/search.yaml --data data/prepared --output runs/gates
    """
    _each_value("gates", **options)


@click.command()
@click.argument("config", type=FILE)
@DATA
@EXPERIMENT
@click.option("--seeds", default=3, show_default=True, type=click.IntRange(1), help="Train each setting with so many.")
@click.option(
    "--values", type=click.IntRange(1), help="At most so many values a parameter, over its range; default all."
)
@click.option(
    "--search", default=0, show_default=True, type=click.IntRange(0), help="Then try so many settings of all three."
)
@JOBS
@SET
def sweep(
    config: Path,
    data: Path,
    output: Path,
    seeds: int,
    values: int | None,
    search: int,
    jobs: int,
    overrides: tuple[str, ...],
) -> None:
    """Vary the contrastive loss's mask probability, negatives and weight (the paper's Figure 8).

    One at a time around the scenario's values. Writes sweep.json: AUC@10 of the users with few
    behaviours and of all, on the test part as in the paper; the best setting is chosen on the
    validation part, and so does --search (with Optuna) choose what to try.

    \b
    Example:
      awmoe sweep configs/search.yaml --data data/prepared --output runs/contrastive --search 20
    """
    from pipeline.prepared_data import PreparedData
    from pipeline.quiet_tensorflow import quiet_tensorflow

    scenario, prepared = load(config, overrides), PreparedData.open(data)
    with quiet_tensorflow():
        from experiments.sweep import sweep as run
        from experiments.sweep_result import SWEEP
        from experiments.sweep_tables import sweep_tables
    found = run(scenario, prepared, output, seeds=seeds, values=values, search=search, jobs=jobs)
    _print(sweep_tables(found))
    click.echo(f"written: {output / SWEEP}")


@click.command()
@click.argument("experiment", type=DIRECTORY)
@DATA
@click.option("--ablation", type=DIRECTORY, help="Output of `awmoe ablate`: adds Table VI.")
@click.option("--gates", type=DIRECTORY, help="Output of `awmoe gates`: adds its tables.")
@click.option("--losses", type=DIRECTORY, help="Output of `awmoe losses`: adds its tables.")
@click.option("--sweep", type=DIRECTORY, help="Output of `awmoe sweep`: adds Figure 8.")
@click.option("--output", default="report.html", show_default=True, type=FILE, help="The page.")
@click.option("--label", help="Whose model the figures look into; default: aw_moe_cl, or the last.")
def report(
    experiment: Path,
    data: Path,
    ablation: Path | None,
    gates: Path | None,
    losses: Path | None,
    sweep: Path | None,
    output: Path,
    label: str | None,
) -> None:
    """Write one HTML page, which loads nothing, about what `awmoe compare` wrote to EXPERIMENT.

    Tables, training curves, which features matter to whom, the gates of user groups, the use
    of the experts, calibration, and two users with one query (docs/report.md).

    \b
    Example:
      awmoe report runs/models --data data/prepared --output report.html
    """
    from pipeline.prepared_data import PreparedData
    from pipeline.progress import progress_bar
    from pipeline.quiet_tensorflow import quiet_tensorflow

    if not output.absolute().parent.is_dir():
        raise InputError(f"{output}: there is no directory {output.parent}")
    prepared = PreparedData.open(data)
    with quiet_tensorflow():
        from experiments.report.write_report import write_report
    with progress_bar("looking into the models") as advance:
        written = write_report(
            experiment,
            prepared,
            output,
            ablation=ablation,
            gates=gates,
            losses=losses,
            sweep=sweep,
            label=label,
            progress=advance,
        )
    for what, command in written.left_out:
        click.echo(f"not in this report: {what} ({command})")
    click.echo(f"written: {output}")


COMMANDS = (compare, ablate, gates, losses, sweep, report)


def _each_value(
    kind: Any,
    *,
    config: Path,
    data: Path,
    output: Path,
    seeds: int,
    truth: Path | None,
    jobs: int,
    overrides: tuple[str, ...],
) -> None:
    """What `gates` and `losses` do; arguments as of both."""
    from pipeline.prepared_data import PreparedData
    from pipeline.quiet_tensorflow import quiet_tensorflow

    scenario, prepared = load(config, overrides), PreparedData.open(data)
    with quiet_tensorflow():
        from experiments.each_value import each_value
    _show_comparison(each_value(kind, scenario, prepared, output, seeds=seeds, jobs=jobs, truth=truth), output)


def _show_comparison(comparison: Comparison, output: Path) -> None:
    from experiments.comparison import COMPARISON
    from experiments.comparison_tables import comparison_tables

    _print(comparison_tables(comparison))
    click.echo(f"written: {output / COMPARISON}")


def _print(tables: Iterable[Table]) -> None:
    from rich.console import Console

    # a log file has no width to keep to
    console = Console() if sys.stdout.isatty() else Console(width=180)
    for table in tables:
        console.print(table)
