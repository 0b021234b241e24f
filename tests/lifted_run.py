"""A run whose logits lie close together around a high level, as a loss without a level may leave them."""

from __future__ import annotations

from pathlib import Path

from random_run import random_run

from experiment_data import experiment_scenario
from model.run_directory import Run


def lifted_run(data: Path, loss: str, level: float = 22.5) -> Run:
    """A DIN with random weights, whose logits differ by about 1e-3.

    Args:
        data: directory that gets the scenario's tiny prepared data.
        loss: its `training.loss`.
        level: of the logits.
    """
    run = random_run(experiment_scenario(model={"name": "din"}, training={"loss": loss}), data)
    kernel, bias = run.model.experts.upper_kernels[-1], run.model.experts.biases[-1]
    kernel.assign(1e-3 * kernel)
    bias.assign([[[level]]])
    return run
