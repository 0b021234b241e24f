"""How fast the exported model scores a session's candidates, beside DeepCTR's DIN and what the machine allows.

    python -m benchmarks.scoring --json

The model of configs/search.yaml with random weights: 4 experts of 512 and 256 units, attention 64-32, hidden 64,
embeddings 16; its export, called in this process as a server calls it, raw values in. Beside it, in turns within one
run:
- DeepCTR's DIN (one FFN 512-256, attention 64-32, the same embeddings), ids in, whose history comes with every row;
- this model with a gate for each candidate (`gate.context: target_item`), gate and scores together;
- the matrix products of the scores alone, at the rate of a large matrix product.

The last line is JSON: `cases`, each with `candidates`, `behaviors`, `ms` (median of `score_items`), `gate_ms`,
`peer_ratio` (DeepCTR's time over ours), `bound_ratio` (ours over the products' alone), `gate_share` (the gate call over
the score call) and `candidate_gate_ratio` (with a gate each, over with one: gate and scores together).
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.medians import medians_ms
from pipeline.quiet_tensorflow import quiet_tensorflow

with quiet_tensorflow():
    import tensorflow as tf
    from rich.console import Console
    from rich.table import Table

    from benchmarks.matrix_bound import matrix_rate, score_operations
    from benchmarks.peers.deepctr_forward import DeepCTRForward, deepctr_forward
    from benchmarks.random_model import random_model
    from export.random_sessions import random_sessions
    from export.signatures import save_signatures
    from model.run_directory import Run

SIZES = ("model.experts.layers=[512, 256]", "model.experts.count=4")


@dataclass(frozen=True)
class Subjects:
    """What is timed beside DeepCTR: the trained form of the model, one with a gate for each candidate, the export."""

    run: Run
    gate_each: Run
    signatures: Any

    @classmethod
    def make(cls, directory: Path) -> Subjects:
        """With random weights; `directory` gets the export."""
        run = random_model(directory / "assets", SIZES)
        each = random_model(directory / "assets", [*SIZES, "model.name=aw_moe", "model.gate.context=target_item"])
        save_signatures(run, directory / "export")
        return cls(run, each, tf.saved_model.load(str(directory / "export")).signatures)


def case(subjects: Subjects, peer: DeepCTRForward, candidates: int, repeats: int) -> dict[str, Any]:
    """One session of so many candidates, and as many behaviours as the peer's histories have."""
    run, signatures, behaviors = subjects.run, subjects.signatures, peer.behaviors
    features = run.scenario.features
    raw = random_sessions(features, run.assets, batch=1, behaviors=behaviors, candidates=candidates, seed=1)
    raw |= {
        "behavior_count": tf.constant([behaviors], tf.int64),
        "candidate_count": tf.constant([candidates], tf.int64),
    }
    gate_inputs = {spec.name: raw[spec.name] for spec in features.gate_inputs}
    score_inputs = {spec.name: raw[spec.name] for spec in features.score_inputs}
    gate = signatures["session_gate"](**gate_inputs)["gate"]
    encoded, rows = run.preprocessing(raw), peer.inputs(candidates)
    with_a_gate_each = tf.function(lambda: subjects.gate_each.model(encoded))
    with_one_gate = tf.function(lambda: run.model(encoded))
    ms = medians_ms(
        {
            "score": lambda: signatures["score_items"](gate=gate, **score_inputs)["scores"].numpy(),
            "gate": lambda: signatures["session_gate"](**gate_inputs)["gate"].numpy(),
            "peer": lambda: peer.scores(rows).numpy(),
            "a gate each": lambda: with_a_gate_each().numpy(),
            "one gate": lambda: with_one_gate().numpy(),
        },
        repeats,
    )
    bound = score_operations(run.model, candidates, behaviors) / matrix_rate() * 1e3
    return {
        "candidates": candidates,
        "behaviors": behaviors,
        "ms": round(ms["score"], 3),
        "gate_ms": round(ms["gate"], 3),
        "peer_ratio": round(ms["peer"] / ms["score"], 2),
        "bound_ratio": round(ms["score"] / bound, 2),
        "gate_share": round(ms["gate"] / ms["score"], 3),
        "candidate_gate_ratio": round(ms["a gate each"] / ms["one gate"], 2),
    }


def main() -> None:
    """Runs the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--behaviors", type=int, nargs="+", default=[50, 1000])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--json", action="store_true", help="no table")
    arguments = parser.parse_args()
    cases = []
    with tempfile.TemporaryDirectory() as directory:
        subjects = Subjects.make(Path(directory))
        for behaviors in arguments.behaviors:
            peer = deepctr_forward(subjects.run.scenario.features, behaviors)
            cases += [case(subjects, peer, candidates, arguments.repeats) for candidates in arguments.candidates]
    if not arguments.json:
        table = Table(*cases[0])
        for measured in cases:
            table.add_row(*(f"{value:,}" for value in measured.values()))
        Console().print(table)
    print(json.dumps({"cases": cases}))


if __name__ == "__main__":
    main()
