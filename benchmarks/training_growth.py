"""How a training step's time grows with candidates N, behaviours T and experts K, as a figure.

    python -m benchmarks.training_growth --output docs/training_growth.svg

The model of `benchmarks.training`, 32 sessions a step from memory, N = 10, T = 50 and K = 4 unless the panel varies it;
the sparse gate chooses 2 experts, other ones for other sessions (weights are random). Beside each step the time of its
matrix products at the rate of a large one, measured in the same run, and, over N, the gate with its gradients alone.

The last line is JSON: `candidates`, `behaviors`, `experts` and `experts_sparse`, each a list of points with `at`,
`step_ms` and `bound_ms`; those of `candidates` have `gate_ms` and `gate_share` too.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.medians import medians_ms
from pipeline.quiet_tensorflow import quiet_tensorflow

with quiet_tensorflow():
    import tensorflow as tf
    from matplotlib.figure import Figure

    from benchmarks.matrix_bound import matrix_rate, training_operations
    from benchmarks.random_weights import random_weights
    from benchmarks.training import SIZES
    from benchmarks.training_subject import Batch, TrainingSubject
    from model.ranker import Ranker

Point = dict[str, float]
_SESSIONS = 32
_TOP_K = 2
_FEW: dict[str, Any] = {"candidates": 10, "behaviors": 50}


def point(subject: TrainingSubject, at: int, repeats: int, *, with_gate: bool = False, **sizes: int) -> Point:
    """One step's time beside its bound."""
    sizes = {**_FEW, **sizes}
    batch, top_k = subject.batch(_SESSIONS, **sizes), subject.scenario.model.experts.top_k
    calls: dict[str, Callable[[], Any]] = {"step": lambda: subject.step(batch)}
    if with_gate:
        calls["gate"] = _gate_step(subject.model, batch)
    ms = medians_ms(calls, repeats)
    bound = training_operations(subject.model, _SESSIONS, **sizes, top_k=top_k) / matrix_rate() * 1e3
    measured: Point = {"at": at, "step_ms": round(ms["step"], 2), "bound_ms": round(bound, 2)}
    if with_gate:
        measured |= {"gate_ms": round(ms["gate"], 2), "gate_share": round(ms["gate"] / ms["step"], 3)}
    return measured


def _gate_step(model: Ranker, batch: Batch) -> Callable[[], Any]:
    """The gate, once a session, and the gradients of its weights and of the tables it reads."""
    weights = [*model.gate_network.trainable_variables, *model.embedding.trainable_variables]

    @tf.function
    def step() -> tf.Tensor:
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(model.session_gate(batch))
        gradients = tape.gradient(total, weights, unconnected_gradients="zero")
        return tf.linalg.global_norm(gradients)

    return lambda: step().numpy()


def figure(measured: dict[str, list[Point]], output: Path) -> None:
    """Three panels, SVG."""
    panels = {
        "candidates N": {"": measured["candidates"]},
        "behaviours T": {"": measured["behaviors"]},
        "experts K": {"dense gate": measured["experts"], f"sparse gate, {_TOP_K} of K": measured["experts_sparse"]},
    }
    shown = Figure(figsize=(11, 3.4), layout="constrained")
    axes = shown.subplots(1, 3, sharey=True)
    for axis, (title, series) in zip(axes, panels.items(), strict=True):
        for (name, points), color in zip(series.items(), ("tab:blue", "tab:orange"), strict=False):
            at = [one["at"] for one in points]
            suffix = f", {name}" if name else ""
            axis.plot(at, [one["step_ms"] for one in points], "o-", color=color, label=f"step{suffix}")
            axis.plot(at, [one["bound_ms"] for one in points], "--", color=color, label=f"its products alone{suffix}")
            if "gate_ms" in points[0]:
                axis.plot(at, [one["gate_ms"] for one in points], "s-", color="tab:green", label="the gate's part")
        axis.set(xscale="log", yscale="log", xlabel=title)
        axis.set_xticks(at, [f"{value:,}" for value in at])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    axes[0].yaxis.set_major_formatter("{x:,.0f}")
    low, high = axes[0].get_ylim()
    axes[0].set_ylim(low, 5 * high)  # room for the legends
    axes[0].set_ylabel(f"ms, {_SESSIONS} sessions")
    shown.savefig(output)


def main() -> None:
    """Runs the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=int, nargs="+", default=[1, 3, 10, 30, 100])
    parser.add_argument("--behaviors", type=int, nargs="+", default=[10, 30, 100, 300, 1000])
    parser.add_argument("--experts", type=int, nargs="+", default=[4, 8, 16, 32, 64])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--output", type=Path, help="the figure, .svg or .png")
    arguments = parser.parse_args()
    tf.get_logger().setLevel("ERROR")  # each model's step is traced once, and TensorFlow warns of so many
    with tempfile.TemporaryDirectory() as name:

        def subject(*overrides: str) -> TrainingSubject:
            made = TrainingSubject.make(Path(name), [*SIZES, *overrides])
            random_weights(made.model, seed=1)  # fresh ones would choose the same experts for all sessions
            return made

        four = subject()
        repeats = arguments.repeats
        measured = {
            "candidates": [point(four, n, repeats, with_gate=True, candidates=n) for n in arguments.candidates],
            "behaviors": [point(four, t, repeats, behaviors=t) for t in arguments.behaviors],
        }
        for series, options in (("experts", ""), ("experts_sparse", f", top_k: {_TOP_K}")):
            measured[series] = [
                point(subject(f"model.experts={{count: {k}, layers: [512, 256]{options}}}"), k, repeats)
                for k in arguments.experts
            ]
    if arguments.output:
        figure(measured, arguments.output)
    print(json.dumps(measured))


if __name__ == "__main__":
    main()
