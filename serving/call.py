"""One call of the client to a server, as those who watch it see it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Call:
    """What is to be sent: `Predict` of a signature, or `GetModelMetadata`; `candidates` are those of its page."""

    method: Literal["Predict", "GetModelMetadata"]
    request: Any
    candidates: int = 0


@dataclass(frozen=True)
class CallRecord:
    """A call that ended, for metrics and traces.

    Attributes:
        signature: `session_gate`, `score_items`, or empty for `GetModelMetadata`.
        candidates: of the page; 0 but for `score_items`.
        seconds: from the request to its answer, retries included.
        code: the gRPC status by name, `OK` where all is well.
        version: the model version that answered; None where none did.
    """

    signature: str
    candidates: int
    seconds: float
    code: str
    version: int | None
