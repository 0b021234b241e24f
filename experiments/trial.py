"""One trial of an experiment: a model trained with one seed, and its scores of the test part.

<experiment>/trials/<label>/seed-<seed>/
    run/             what `awmoe train` writes
    scores.parquet   one row a candidate of the test part, as `model.predict.predict` gives them
    trial.json       facts; written last: a trial without it is done anew
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from model.parameter_count import parameter_count
from model.predict import predict
from model.run_directory import HISTORY, SCENARIO, Run, load_run
from model.training.train import train
from pipeline.config import Scenario
from pipeline.errors import InputError
from pipeline.prepared_data import PreparedData
from pipeline.scenario_file import dump_scenario, load_scenario

FACTS = "trial.json"
SCORES = "scores.parquet"
RUN = "run"


@dataclass(frozen=True)
class Trial:
    """What is to be trained; its seed is the scenario's `training.seed`."""

    label: str
    scenario: Scenario

    @property
    def name(self) -> str:
        """For people: label and seed."""
        return f"{self.label} seed {self.scenario.training.seed}"

    def directory(self, experiment: Path) -> Path:
        """Where the trial is in an experiment's directory."""
        return experiment / "trials" / self.label / f"seed-{self.scenario.training.seed}"


@dataclass(frozen=True)
class TrialFacts:
    """What `trial.json` says.

    Attributes:
        label: names what is compared, for instance `din`.
        seed: of weights and shuffling.
        dense_parameters: weights outside embedding tables.
        table_parameters: weights of the embedding tables.
        training_seconds: from the first look at the data to the written weights, validation included.
        epochs: trained; the best of them was kept.
        data: fingerprint of the prepared data.
    """

    label: str
    seed: int
    dense_parameters: int
    table_parameters: int
    training_seconds: float
    epochs: int
    data: str


@dataclass(frozen=True)
class TrialResult:
    """A finished trial."""

    directory: Path
    facts: TrialFacts

    @property
    def has_run(self) -> bool:
        """Whether there is a model; a peer of another library (`benchmarks/peers/`) has scores alone."""
        return (self.directory / RUN).is_dir()

    @property
    def scores_are_probabilities(self) -> bool:
        """As of its `training.loss`; of a peer, whose scores are between 0 and 1 too, taken for granted."""
        return not self.has_run or load_scenario(self.directory / RUN / SCENARIO).training.scores_are_probabilities

    def scores(self) -> pa.Table:
        """One row a candidate of the test part: `session_id`, `item_id`, `label`, `score`, `slice_<name>`, ..."""
        return pq.read_table(self.directory / SCORES)

    def history(self) -> dict[str, list[float]]:
        """Losses and metrics of every epoch."""
        history: dict[str, list[float]] = json.loads((self.directory / RUN / HISTORY).read_text(encoding="utf-8"))
        return history

    def run(self) -> Run:
        """The trained model."""
        return load_run(self.directory / RUN)


def run_trial(trial: Trial, data: PreparedData, experiment: Path) -> TrialResult:
    """Trains and scores, or gives what was done before.

    Raises:
        InputError: the trial's directory holds another scenario's trial, or as of `train`.
    """
    directory = trial.directory(experiment)
    if finished := finished_trial(trial, data, experiment):
        return finished
    started = time.perf_counter()
    history = train(trial.scenario, data, directory / RUN, overwrite=True, verbose=0, tensorboard=False)
    seconds = time.perf_counter() - started
    run = load_run(directory / RUN)
    pq.write_table(predict(run, data.files("test"), data.sessions("test")), directory / SCORES)
    parameters = parameter_count(run.model)
    facts = TrialFacts(
        label=trial.label,
        seed=trial.scenario.training.seed,
        dense_parameters=parameters.dense,
        table_parameters=parameters.tables,
        training_seconds=seconds,
        epochs=len(history["loss"]),
        data=data.fingerprint(),
    )
    return write_facts(directory, facts)


def write_facts(directory: Path, facts: TrialFacts) -> TrialResult:
    """Makes a trial a finished one, in one step: a process that is killed leaves no half of it."""
    partial = directory / f"{FACTS}.partial"
    partial.write_text(json.dumps(asdict(facts), indent=2) + "\n", encoding="utf-8")
    partial.replace(directory / FACTS)
    return TrialResult(directory, facts)


def finished_trial(trial: Trial, data: PreparedData, experiment: Path) -> TrialResult | None:
    """The trial's result where it was done before.

    Raises:
        InputError: it was done with another scenario or on other data, or is damaged.
    """
    directory = trial.directory(experiment)
    if not (directory / FACTS).exists():
        return None
    result = read_trial(directory)
    try:
        scenario = (directory / RUN / SCENARIO).read_text(encoding="utf-8")
    except OSError as error:
        raise _damaged(directory, error) from None
    if scenario != dump_scenario(trial.scenario):
        raise InputError(
            f"{directory}: was trained with another scenario or --set; give the same again to go on, or name another "
            "output directory"
        )
    check_data(result, data)
    return result


def check_data(result: TrialResult, data: PreparedData) -> None:
    """Checks that a trial was trained and scored on this data.

    Raises:
        InputError: it was not.
    """
    if result.facts.data != data.fingerprint():
        raise InputError(
            f"{result.directory}: was trained on other data than {data.directory} holds now; name the data it was "
            "trained on, or train in another directory"
        )


def read_trial(directory: Path) -> TrialResult:
    """A finished trial from its directory.

    Raises:
        InputError: it is damaged.
    """
    try:
        return TrialResult(directory, TrialFacts(**json.loads((directory / FACTS).read_text(encoding="utf-8"))))
    except (OSError, ValueError, TypeError) as error:
        raise _damaged(directory, error) from None


def read_trials(experiment: Path, seeds: Collection[int] | None = None) -> list[TrialResult]:
    """The finished trials of an experiment, by label and seed; of some seeds only, where they are given."""
    results = [read_trial(path.parent) for path in experiment.glob(f"trials/*/seed-*/{FACTS}")]
    chosen = [result for result in results if seeds is None or result.facts.seed in seeds]
    return sorted(chosen, key=lambda result: (result.facts.label, result.facts.seed))


def _damaged(directory: Path, error: Exception) -> InputError:
    return InputError(f"{directory}: is damaged ({error}); delete it, and the same command trains it again")
