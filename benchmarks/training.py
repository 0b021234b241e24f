"""How fast the model trains, beside DeepCTR's DIN and what the machine allows.

    python -m benchmarks.training --json

The model of configs/search.yaml: 4 experts of 512 and 256 units, attention 64-32, hidden 64, embeddings 16, the
contrastive loss, 50 behaviours; and, in turns within one run, DeepCTR's DIN (one FFN 512-256, attention 64-32 with ReLU
as ours, the same embeddings, Adam; ids alone, where our sessions have numbers and lists too), on as many examples a
step. All batches are in memory. Then:
- the same sessions from gzipped TFRecords, as `awmoe train` reads them;
- tables of 2 million rows beside tables of 20,000, ids drawn from all of them;
- layers in bfloat16 (`training.precision: mixed_bfloat16`) beside float32.

The last line is JSON: `cases`, each with `candidates` (of a session), `step_ms`, `examples_per_second`,
`peer_examples_per_second`, `ratio` (of these two), `default_ratio` (over DeepCTR's with dice, its default activation),
`bfloat16_ratio` (bfloat16 over the first peer) and `bound_ratio` (a float32 step over its matrix products at the rate
of a large one); `input_bound_share` (of a step that reads TFRecords, the part that waits for its batch), `reading_cost`
(how much longer such a step takes than one from memory), `large_table_slowdown` and `bfloat16_speedup` (float32's time
over bfloat16's), all of the last case's candidates.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.medians import medians_ms
from pipeline.quiet_tensorflow import quiet_tensorflow

with quiet_tensorflow():
    import tensorflow as tf
    from rich.console import Console
    from rich.table import Table

    from benchmarks.matrix_bound import matrix_rate, training_operations
    from benchmarks.peers.deepctr_forward import DeepCTRForward, deepctr_forward
    from benchmarks.training_subject import TrainingSubject
    from model.dataset import session_dataset

SIZES = ("model.experts.layers=[512, 256]", "model.experts.count=4")
_FILES = 4
_LARGE = 2_000_000
#: Steps that read ahead, and are left out.
_WARM_UP = 10


def case(
    subjects: dict[str, TrainingSubject],
    peers: dict[str, DeepCTRForward],
    examples: int,
    candidates: int,
    repeats: int,
) -> dict[str, Any]:
    """Steps of `examples` in sessions of `candidates`."""
    behaviors, sessions = peers["relu"].behaviors, examples // candidates
    batch = subjects["float32"].batch(sessions, candidates, behaviors)
    rows, labels = peers["relu"].inputs(candidates, sessions), tf.reshape(batch["candidate_label"], [-1])
    ms = medians_ms(
        {name: partial(subject.step, batch) for name, subject in subjects.items()}
        | {name: peer.training_step(rows, labels) for name, peer in peers.items()},
        repeats,
    )
    operations = training_operations(subjects["float32"].model, sessions, candidates, behaviors)
    return {
        "candidates": candidates,
        "step_ms": round(ms["float32"], 1),
        "examples_per_second": round(sessions * candidates / ms["float32"] * 1e3),
        "peer_examples_per_second": round(sessions * candidates / ms["relu"] * 1e3),
        "ratio": round(ms["relu"] / ms["float32"], 2),
        "default_ratio": round(ms["dice"] / ms["float32"], 2),
        "bfloat16_ratio": round(ms["relu"] / ms["bfloat16"], 2),
        "bound_ratio": round(ms["float32"] / 1e3 / (operations / matrix_rate()), 2),
        "bfloat16_speedup": round(ms["float32"] / ms["bfloat16"], 2),
    }


def reading(
    subject: TrainingSubject, directory: Path, sessions: int, candidates: int, behaviors: int, steps: int
) -> tuple[float, float]:
    """`input_bound_share` and `reading_cost`, of batches of so many sessions."""
    of_file = sessions * steps // _FILES
    files = [directory / f"{i}.tfrecord.gz" for i in range(_FILES)]
    for seed, file in enumerate(files):
        subject.write_records(file, of_file, candidates, behaviors, seed)
    batches = iter(
        session_dataset(
            [str(file) for file in files],
            subject.scenario.features,
            subject.preprocessing,
            batch_size=sessions,
            shuffle_buffer=sessions,
            epochs=range(2),  # the first one's end begins to read the second
        )
    )
    waiting, read = 0.0, 0.0
    for step in range(steps):
        started = time.perf_counter()
        batch = next(batches)
        got = time.perf_counter()
        subject.step(batch)
        if step >= _WARM_UP:
            waiting, read = waiting + got - started, read + time.perf_counter() - started
    # what reads ahead comes to rest while steps go on without it
    held = medians_ms({"held": lambda: subject.step(batch)}, steps)["held"] / 1e3
    return waiting / read, read / (steps - _WARM_UP) / held - 1


def large_table_slowdown(
    small: TrainingSubject, directory: Path, sessions: int, candidates: int, behaviors: int, repeats: int
) -> float:
    """How much longer a step with tables of 2 million rows takes, relative to one with tables of 20,000."""
    large = TrainingSubject.make(directory, SIZES, rows=_LARGE)
    of_small, of_large = (subject.batch(sessions, candidates, behaviors) for subject in (small, large))
    ms = medians_ms({"small": lambda: small.step(of_small), "large": lambda: large.step(of_large)}, repeats)
    return ms["large"] / ms["small"] - 1


def main() -> None:
    """Runs the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=int, nargs="+", default=[2, 10])
    parser.add_argument("--behaviors", type=int, default=50)
    parser.add_argument("--examples", type=int, default=1280, help="of a step")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--json", action="store_true", help="no table")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        directory, behaviors = Path(name), arguments.behaviors
        subjects = {
            "float32": TrainingSubject.make(directory / "assets", SIZES),
            "bfloat16": TrainingSubject.make(directory / "assets", [*SIZES, "training.precision=mixed_bfloat16"]),
        }
        features = subjects["float32"].scenario.features
        peers = {activation: deepctr_forward(features, behaviors, activation) for activation in ("relu", "dice")}
        cases = [
            case(subjects, peers, arguments.examples, candidates, arguments.repeats)
            for candidates in arguments.candidates
        ]
        subject, candidates = subjects["float32"], arguments.candidates[-1]
        sizes = (arguments.examples // candidates, candidates, behaviors)
        share, cost = reading(subject, directory, *sizes, steps=_WARM_UP + 2 * arguments.repeats)
        slowdown = large_table_slowdown(subject, directory / "assets", *sizes, arguments.repeats)
    measured = {
        "cases": cases,
        "input_bound_share": round(share, 4),
        "reading_cost": round(cost, 3),
        "large_table_slowdown": round(slowdown, 3),
        "bfloat16_speedup": cases[-1]["bfloat16_speedup"],
    }
    if not arguments.json:
        table = Table(*cases[0])
        for one in cases:
            table.add_row(*(f"{value:,}" for value in one.values()))
        Console(width=150).print(table)
    print(json.dumps(measured))


if __name__ == "__main__":
    main()
