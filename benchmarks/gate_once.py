"""What computing the gate once a session saves, at the sizes of a trained run.

    python -m benchmarks.gate_once --run demo-output/run

Measures on random sessions, without a server: the gate once a session (`gate.context:
query`), a gate for every candidate (`gate.context: target_item`, the paper's first design,
same sizes, fresh weights), and the scores of the candidates with a gate given. Prints
medians; the last line is JSON. Not measured: preprocessing, the network, batching.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from benchmarks.medians import medians_ms
from pipeline.quiet_tensorflow import quiet_tensorflow

with quiet_tensorflow():
    import tensorflow as tf

    from export.random_sessions import random_sessions
    from model.run_directory import SCENARIO, load_run, new_run
    from pipeline.scenario_file import load_scenario


def main() -> None:
    """Runs the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", required=True, help="run directory of a trained model")
    parser.add_argument("--candidates", type=int, default=100)
    parser.add_argument("--behaviors", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=50)
    arguments = parser.parse_args()

    run = load_run(arguments.run)
    raw = random_sessions(
        run.scenario.features,
        run.assets,
        batch=1,
        behaviors=arguments.behaviors,
        candidates=arguments.candidates,
        seed=1,
    )
    raw |= {
        "behavior_count": tf.constant([arguments.behaviors]),
        "candidate_count": tf.constant([arguments.candidates]),
    }
    encoded = run.preprocessing(raw)
    each_context = ["model.gate.context=target_item", "model.name=aw_moe"]
    of_candidates = new_run(load_scenario(Path(arguments.run) / SCENARIO, each_context), run.assets).model
    session_gate, candidate_gate = tf.function(run.model.session_gate), tf.function(of_candidates.session_gate)
    score_items = tf.function(run.model.score_items)
    gate = session_gate(encoded)

    ms = medians_ms(
        {
            "score": lambda: score_items(encoded, gate).numpy(),
            "once": lambda: session_gate(encoded).numpy(),
            "each": lambda: candidate_gate(encoded).numpy(),
        },
        arguments.repeats,
    )
    score, once, each = ms["score"], ms["once"], ms["each"]
    print(f"scores of {arguments.candidates} candidates {score:8.2f} ms")
    print(f"gate once a session       {once:8.2f} ms")
    print(f"gate for every candidate  {each:8.2f} ms")
    result = {
        "score_ms": round(score, 3),
        "gate_once_ms": round(once, 3),
        "gate_each_ms": round(each, 3),
        "gate_ratio": round(each / once, 2),
        "total_ratio": round((score + each) / (score + once), 2),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
