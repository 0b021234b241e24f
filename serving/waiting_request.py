"""A request that was checked and waits for its turn."""

from __future__ import annotations

import time
from concurrent.futures import Future
from dataclasses import dataclass, field

import grpc
import numpy as np

from serving.loaded_model import LoadedModel
from serving.serving_error import ServingError
from serving.validation import places


@dataclass(frozen=True, eq=False)
class WaitingRequest:
    """Inputs, and a place for the outputs.

    Attributes:
        model: that answers; held until then, whatever is rolled out meanwhile.
        signature: its name.
        inputs: checked, by name.
        deadline: as of `time.monotonic`; past it the request is not run.
        sessions: B.
        behaviors: T.
        candidates: N, 1 where the signature takes none.
        answer: gets the outputs by name, or the ServingError.
    """

    model: LoadedModel
    signature: str
    inputs: dict[str, np.ndarray]
    deadline: float
    sessions: int
    behaviors: int
    candidates: int
    answer: Future[dict[str, np.ndarray]] = field(default_factory=Future)

    @classmethod
    def of(cls, model: LoadedModel, signature: str, inputs: dict[str, np.ndarray], deadline: float) -> WaitingRequest:
        """With the sizes of its inputs."""
        sizes = {"T": 1, "N": 1, "K": 1}
        sessions = 0
        for name, (_, axis) in model.inputs[signature].items():
            sessions = len(inputs[name])
            if axis:
                sizes[axis] = inputs[name].shape[1]
        return cls(model, signature, inputs, deadline, sessions, sizes["T"], sizes["N"])

    @property
    def places(self) -> int:
        """As of `validation.places`."""
        return places(self.sessions, self.behaviors, self.candidates)

    @property
    def seconds_left(self) -> float:
        """Until the deadline; 0 where it passed."""
        return max(self.deadline - time.monotonic(), 0.0)

    @property
    def is_over(self) -> bool:
        """Whether nobody waits for the answer any more."""
        return self.answer.done() or self.seconds_left == 0

    def too_late(self) -> ServingError:
        """What its caller is told when the deadline passed."""
        return ServingError(
            grpc.StatusCode.DEADLINE_EXCEEDED,
            "the deadline passed before the answer was there; send less or wait longer",
        )
