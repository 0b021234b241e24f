"""The two signatures as they travel over gRPC, by name; `export/signatures.py` makes them.

session_gate   behaviours and the query        -> gate   [B, K]
score_items    every model input and the gate  -> scores [B, N]
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from pipeline.features import DType, Features, InputSpec

SESSION_GATE = "session_gate"
SCORE_ITEMS = "score_items"
GATE = "gate"
SCORES = "scores"
#: The one output of each signature.
OUTPUTS = {SESSION_GATE: GATE, SCORE_ITEMS: SCORES}


class SignatureInput(NamedTuple):
    """One tensor of a request: `[B]` without an axis, else `[B, axis]`."""

    dtype: DType
    axis: Literal["", "T", "N", "K"]


def signature_inputs(features: Features) -> dict[str, dict[str, SignatureInput]]:
    """The inputs of each signature by tensor name, in the declaration's order."""

    def by_name(specs: tuple[InputSpec, ...]) -> dict[str, SignatureInput]:
        return {spec.name: SignatureInput(spec.dtype, spec.axis) for spec in specs}

    return {
        SESSION_GATE: by_name(features.gate_inputs),
        SCORE_ITEMS: by_name(features.score_inputs) | {GATE: SignatureInput("float32", "K")},
    }
