"""How fast the exported model scores a session's candidates, beside DeepCTR's DIN and what the machine allows.

    python -m benchmarks.scoring --json

The model of configs/search.yaml with random weights: 4 experts of 512 and 256 units, attention 64-32, hidden 64,
embeddings 16; its export, called in this process as the embedded server calls it, raw values in. Beside it, in turns
within one run:
- DeepCTR's DIN (one FFN 512-256, attention 64-32 with ReLU as ours, the same embeddings), ids in, whose history comes
  with every row; and the same with the attention's activation that DeepCTR takes by default, dice;
- this model with a gate for each candidate (`gate.context: target_item`), gate and scores together;
- the matrix products of the scores alone, at the rate of a large matrix product.

`TF_NUM_INTRAOP_THREADS=1 TF_NUM_INTEROP_THREADS=1` before the command puts all of them on one core, as a server that
has a request for each core runs them.

The last line is JSON: `cases`, each with `candidates`, `behaviors`, `ms` (median of `score_items`), `ids_ms` (of that,
raw values to ids, timed alone), `gate_ms`, `peer_ratio` (DeepCTR's time over ours), `peer_default_ratio` (DeepCTR's
with dice), `bound_ratio` (ours over the products' alone), `gate_share` (the gate call over the score call),
`candidate_gate_ratio` (with a gate each, over with one: gate and scores together) and `bfloat16_ratio` (float32's time
over that of an export in bfloat16).
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
    from export.publish import export
    from export.random_sessions import random_sessions
    from model.run_directory import Run
    from serving.loaded_model import LoadedModel
    from serving.protocol import GATE, SCORE_ITEMS, SESSION_GATE

SIZES = ("model.experts.layers=[512, 256]", "model.experts.count=4")


@dataclass(frozen=True)
class Subjects:
    """What is timed beside DeepCTR: the trained form of the model, one with a gate for each candidate, the export."""

    run: Run
    gate_each: Run
    exported: LoadedModel
    bfloat16: LoadedModel

    @classmethod
    def make(cls, directory: Path) -> Subjects:
        """With random weights; `directory` gets the exports."""
        run = random_model(directory / "assets", SIZES)
        each = random_model(directory / "assets", [*SIZES, "model.name=aw_moe", "model.gate.context=target_item"])
        # random weights make large logits, whose sigmoids differ by all that is possible
        bfloat16 = ("export.bfloat16=true", "export.max_score_difference=1")
        half = random_model(directory / "assets", [*SIZES, *bfloat16])
        loaded = [LoadedModel.load(export(of, directory / name)) for of, name in ((run, "float32"), (half, "bfloat16"))]
        return cls(run, each, *loaded)


def case(
    subjects: Subjects, peer: DeepCTRForward, peer_default: DeepCTRForward, candidates: int, repeats: int
) -> dict[str, Any]:
    """One session of so many candidates, and as many behaviours as the peers' histories have."""
    run, exported, behaviors = subjects.run, subjects.exported, peer.behaviors
    features = run.scenario.features
    raw = random_sessions(features, run.assets, batch=1, behaviors=behaviors, candidates=candidates, seed=1)
    raw |= {
        "behavior_count": tf.constant([behaviors], tf.int64),
        "candidate_count": tf.constant([candidates], tf.int64),
    }
    gate_inputs = {spec.name: raw[spec.name].numpy() for spec in features.gate_inputs}
    gate = exported.run(SESSION_GATE, gate_inputs)[GATE]
    score_inputs = {spec.name: raw[spec.name].numpy() for spec in features.score_inputs} | {GATE: gate}
    encoded, rows = run.preprocessing(raw), peer.inputs(candidates)
    ids = tf.function(run.preprocessing.__call__)
    with_a_gate_each = tf.function(lambda: subjects.gate_each.model(encoded))
    with_one_gate = tf.function(lambda: run.model(encoded))
    ms = medians_ms(
        {
            "score": lambda: exported.run(SCORE_ITEMS, score_inputs),
            "bfloat16": lambda: subjects.bfloat16.run(SCORE_ITEMS, score_inputs),
            "gate": lambda: exported.run(SESSION_GATE, gate_inputs),
            "ids": lambda: ids(raw)["candidate_item_id"].numpy(),
            "peer": lambda: peer.scores(rows).numpy(),
            "peer default": lambda: peer_default.scores(rows).numpy(),
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
        "ids_ms": round(ms["ids"], 3),
        "gate_ms": round(ms["gate"], 3),
        "peer_ratio": round(ms["peer"] / ms["score"], 2),
        "peer_default_ratio": round(ms["peer default"] / ms["score"], 2),
        "bound_ratio": round(ms["score"] / bound, 2),
        "bfloat16_ratio": round(ms["score"] / ms["bfloat16"], 2),
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
            peer, default = (
                deepctr_forward(subjects.run.scenario.features, behaviors, name) for name in ("relu", "dice")
            )
            cases += [
                case(subjects, peer, default, candidates, arguments.repeats) for candidates in arguments.candidates
            ]
    if not arguments.json:
        table = Table(*cases[0])
        for measured in cases:
            table.add_row(*(f"{value:,}" for value in measured.values()))
        Console(width=150).print(table)
    print(json.dumps({"cases": cases}))


if __name__ == "__main__":
    main()
