"""Evaluation: metrics of a run on prepared data, beside popularity ranking and an oracle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.box import SIMPLE_HEAD
from rich.table import Table
from sklearn.metrics import log_loss, roc_auc_score

from model.predict import predict
from model.run_directory import Run
from model.session_metrics import PAPER_METRICS
from model.session_values import RANKINGS, Values, session_numbers, session_values
from model.weights_fingerprint import weights_fingerprint
from pipeline.errors import InputError
from pipeline.prepared_data import Part, PreparedData

_TRUTH = pa.schema({"session_id": pa.string(), "item_id": pa.string(), "probability": pa.float64()})
#: Over all candidates, of scores that mean the same in every session.
_POOLED = ("pooled_auc", "log_loss")
_COLUMNS = ("sessions", *PAPER_METRICS, *_POOLED)


@dataclass(frozen=True)
class Evaluation:
    """Metrics by part of the data, ranking and name.

    Parts are `full`, the scenario's slices, and `new_items`; rankings are `model`,
    `popularity`, `displayed` and `oracle`. Names: `sessions`, how many count (they have both classes);
    session metrics, means over those; `pooled_auc` and `log_loss` over all candidates, of model
    and oracle. None where a metric is not defined, as those two of a model whose scores are no
    probabilities. The model's log loss is that of a model trained on sampled negatives: it
    expects more purchases than the full lists of a test part have, and only compares models
    trained on the same sample.

    `weights` is the fingerprint of the weights that were evaluated.
    """

    metrics: dict[str, dict[str, dict[str, float | None]]]
    weights: str = ""

    def write(self, path: str | Path) -> None:
        """Writes the metrics as JSON, and beside the parts `weights`."""
        written = {**self.metrics, "weights": self.weights}
        Path(path).write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: str | Path) -> Evaluation:
        """What `write` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            InputError: it is none of `awmoe evaluate`.
        """
        try:
            written = json.loads(Path(path).read_text(encoding="utf-8"))
            weights = written.pop("weights", "")
            return cls({part: dict(rankings) for part, rankings in written.items()}, weights)
        except (ValueError, AttributeError, TypeError) as error:
            raise InputError(f"{path}: is damaged ({error}); run `awmoe evaluate` again") from None

    def table(self) -> Table:
        """The metrics for a terminal of 80 columns, one row a part and ranking."""
        table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=0)
        table.add_column("part", no_wrap=True)
        table.add_column("ranking", no_wrap=True)
        for name in _COLUMNS:
            header = name.replace("_at_", "@").replace("_", " ")
            table.add_column(header, justify="right", min_width=max(6, *map(len, header.split())))
        for part, rankings in self.metrics.items():
            for index, (ranking, metrics) in enumerate(rankings.items()):
                cells = (_cell(metrics.get(name)) for name in _COLUMNS)
                table.add_row("" if index else part, ranking, *cells, end_section=index == len(rankings) - 1)
        return table


def evaluate(run: Run, data: PreparedData, part: Part = "test", truth: str | Path | None = None) -> Evaluation:
    """Evaluates a run on a part of prepared data and on the scenario's slices of it.

    With the test part, `new_items` is reported too where it has sessions.

    Args:
        truth: Parquet file of true purchase probabilities, with columns `session_id`,
            `item_id` and `probability`, as `awmoe simulate` writes it; adds the ranking `oracle`.

    Raises:
        InputError: the data was made with other features, the part is empty or broken, or the
            truth lacks a candidate.
    """
    data.check_features(run.scenario)
    if not data.sessions(part):
        raise InputError(f"{data.directory}: the part `{part}` has no sessions to evaluate on")
    full = _predict(run, data, part, truth)
    parts = {"full": full}
    for piece in run.scenario.evaluation.slices:
        parts[piece.name] = full.filter(full[f"slice_{piece.name}"])
    if part == "test" and data.sessions("new_items"):
        parts["new_items"] = _predict(run, data, "new_items", truth)
    probabilities = {"model": run.scenario.training.scores_are_probabilities, "oracle": True}
    metrics = {name: _rankings(candidates, probabilities) for name, candidates in parts.items()}
    return Evaluation(metrics, weights_fingerprint(run.model))


def _predict(run: Run, data: PreparedData, part: Part, truth: str | Path | None) -> pa.Table:
    candidates = predict(run, data.files(part), data.sessions(part))
    return candidates if truth is None else with_truth(candidates, Path(truth))


def with_truth(candidates: pa.Table, path: Path) -> pa.Table:
    """Adds `probability` to rows of `predict`, by session and item; the order of rows is kept.

    Args:
        path: Parquet file, as the truth of `evaluate`.

    Raises:
        InputError: the file cannot be read, or lacks a candidate.
    """
    keys = ["session_id", "item_id"]
    try:
        truth = pq.read_table(path, columns=[*keys, "probability"]).cast(_TRUTH)
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise InputError(f"{path}: cannot be read as true probabilities: {' '.join(str(error).split())}") from error
    numbered = candidates.append_column("row", pa.array(np.arange(len(candidates))))
    # An item may be shown twice in a session, with one probability.
    distinct = truth.group_by(keys).aggregate([("probability", "max")]).rename_columns([*keys, "probability"])
    joined = numbered.join(distinct, keys=keys, join_type="left outer").sort_by("row").drop_columns("row")
    if joined["probability"].null_count:
        row = joined.filter(joined["probability"].is_null()).slice(0, 1).to_pylist()[0]
        raise InputError(
            f"{path}: has no probability for item `{row['item_id']}` of session `{row['session_id']}`; "
            "it belongs to another log"
        )
    return joined


def _rankings(candidates: pa.Table, probabilities: Mapping[str, bool]) -> dict[str, dict[str, float | None]]:
    """Metrics by ranking; those of `probabilities` have the pooled ones too, which are defined where it says so."""
    sessions = session_numbers(candidates)
    rankings = {}
    for ranking, column in RANKINGS.items():
        if column in candidates.column_names:
            rankings[ranking] = _session_means(session_values(candidates, sessions, column))
            if probabilities.get(ranking):
                rankings[ranking] |= _pooled(candidates["label"].to_numpy(), candidates[column].to_numpy())
            elif ranking in probabilities:
                rankings[ranking] |= dict.fromkeys(_POOLED)
    return rankings


def _session_means(metrics: Values) -> dict[str, float | None]:
    counted = int(np.isfinite(metrics["auc"]).sum())
    means = {name: float(np.nanmean(values)) if np.isfinite(values).any() else None for name, values in metrics.items()}
    return {"sessions": counted, **means}


def _pooled(labels: np.ndarray, scores: np.ndarray) -> dict[str, float | None]:
    if not len(labels):
        return dict.fromkeys(_POOLED)
    both = labels.min() < labels.max()
    return {
        "pooled_auc": float(roc_auc_score(labels, scores)) if both else None,
        "log_loss": float(log_loss(labels, scores, labels=[0, 1])),
    }


def _cell(value: float | None) -> str:
    if value is None:
        return ""
    return str(value) if isinstance(value, int) else f"{value:.4f}"
