"""Runs several requests of one signature as one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from serving.protocol import SCORE_ITEMS, SCORES
from serving.waiting_request import WaitingRequest


def run_joined(requests: Sequence[WaitingRequest]) -> list[dict[str, np.ndarray]]:
    """The outputs of each request, by name, as if it had been run alone.

    The sessions are joined and padded to the longest T and N. Padding stands beyond the
    counts, where values change nothing; each request's scores are cut to its own N.

    Args:
        requests: of one version and one signature.
    """
    first = requests[0]
    if len(requests) == 1:
        return [first.model.run(first.signature, first.inputs)]
    outputs = first.model.run(first.signature, _joined(requests))
    answers, start = [], 0
    for request in requests:
        end = start + request.sessions
        answers.append({name: _own(request, name, values[start:end]) for name, values in outputs.items()})
        start = end
    return answers


def _joined(requests: Sequence[WaitingRequest]) -> dict[str, np.ndarray]:
    first = requests[0]
    widths = {"T": max(request.behaviors for request in requests), "N": max(request.candidates for request in requests)}
    sessions = sum(request.sessions for request in requests)
    joined = {}
    for name, (dtype, axis) in first.model.inputs[first.signature].items():
        parts = [request.inputs[name] for request in requests]
        if axis not in widths:
            joined[name] = np.concatenate(parts)
            continue
        padded = np.full((sessions, widths[axis]), b"" if dtype == "string" else 0, parts[0].dtype)
        start = 0
        for part in parts:
            padded[start : start + len(part), : part.shape[1]] = part
            start += len(part)
        joined[name] = padded
    return joined


def _own(request: WaitingRequest, output: str, values: np.ndarray) -> np.ndarray:
    if (request.signature, output) == (SCORE_ITEMS, SCORES):
        return values[:, : request.candidates]
    return values
