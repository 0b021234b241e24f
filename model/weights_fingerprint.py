"""Tells a model's weights from other weights."""

from __future__ import annotations

import hashlib

from model.ranker import Ranker


def weights_fingerprint(model: Ranker) -> str:
    """A hash of the shapes and values of a built model's weights, 16 hexadecimal digits.

    The same weights have the same one in every process: names, which count up, have no part in it.
    """
    digest = hashlib.sha256()
    for layer in model.layers:
        for weight in layer.weights:
            digest.update(str(weight.shape).encode())
            digest.update(weight.numpy().tobytes())
    return digest.hexdigest()[:16]
