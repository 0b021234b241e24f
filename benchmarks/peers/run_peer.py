"""A peer's fit as a trial of an experiment, so that it is compared as our own models are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.special import expit

from benchmarks.peers.peer_scores import PeerScores
from experiments.trial import FACTS, SCORES, TrialFacts, TrialResult, check_data, read_trial, write_facts
from pipeline.prepared_data import PreparedData


def run_peer(
    label: str, seed: int, experiment: Path, data: PreparedData, candidates: pa.Table, fit: Callable[[], PeerScores]
) -> TrialResult:
    """Fits and writes a trial without a run, or gives what was done before.

    Args:
        label: of the peer.
        seed: of the trial; `fit` uses it.
        experiment: directory that gets the trial.
        data: that `fit` trains and scores on.
        candidates: the scores of one of our models on the same test part, whose rows the peer's scores follow.
        fit: gives the scores.
    """
    directory = experiment / "trials" / label / f"seed-{seed}"
    if (directory / FACTS).exists():
        result = read_trial(directory)
        check_data(result, data)
        return result
    peer = fit()
    if len(peer.scores) != len(candidates):
        raise AssertionError(f"{label}: {len(peer.scores)} scores for {len(candidates)} candidates")
    directory.mkdir(parents=True, exist_ok=True)
    column = candidates.schema.get_field_index("score")
    scores = pa.array(expit(peer.scores.astype(np.float64)))
    pq.write_table(candidates.set_column(column, "score", scores), directory / SCORES)
    parameters = peer.facts.get("parameters", {"dense": 0, "tables": 0})
    facts = TrialFacts(
        label=label,
        seed=seed,
        dense_parameters=parameters["dense"],
        table_parameters=parameters["tables"],
        training_seconds=peer.facts["training_seconds"],
        epochs=peer.facts.get("epochs", 1),
        data=data.fingerprint(),
    )
    return write_facts(directory, facts)
