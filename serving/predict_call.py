"""What a client asks of `Predict`, whichever way it came."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from serving.model_choice import ModelChoice
from serving.protocol import SignatureInput

#: Gives the request's arrays by name: of the signature's inputs, with the model's number of experts K.
#: Raises `InvalidRequest` where a name, a type or a shape is wrong.
Decode = Callable[[Mapping[str, SignatureInput], int], dict[str, np.ndarray]]


@dataclass(frozen=True)
class PredictCall:
    """One call.

    Attributes:
        choice: of model and version.
        signature: its name.
        decode: the inputs, decoded when it is known what they must be.
        outputs: that are wanted; empty: all.
        seconds: the caller waits at most so long; None: it does not say.
    """

    choice: ModelChoice
    signature: str
    decode: Decode
    outputs: Sequence[str] = ()
    seconds: float | None = None
