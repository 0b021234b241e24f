"""A sample of the test sessions, in memory."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from model.dataset import broken_files_named, raw_dataset
from pipeline.config import Scenario
from pipeline.errors import InputError
from pipeline.prepared_data import PreparedData

#: Sessions that are read at most; the sample is drawn from them.
_POOL = 20_000
_BATCH_SIZE = 512


def read_sample(data: PreparedData, scenario: Scenario, sessions: int, seed: int) -> dict[str, np.ndarray]:
    """Raw test sessions, as `raw_dataset` gives them, in one batch.

    They are drawn at random from the first sessions of files in random order.

    Args:
        sessions: how many, `B`; all where the part has fewer.
        seed: of the draw.

    Returns:
        Every input of the model, `session_id`, `user_id`, `time` `[B]` and `candidate_label`
        `[B, N]`; padded with `b""` and 0.

    Raises:
        InputError: the test part is empty or broken.
    """
    if not data.sessions("test"):
        raise InputError(f"{data.directory}: the test part has no sessions to report on")
    rng = np.random.default_rng(seed)
    pool = min(data.sessions("test"), _POOL)
    chosen = np.sort(rng.permutation(pool)[:sessions])
    files = [str(file) for file in rng.permutation(data.files("test"))]
    kept, seen = [], 0
    with broken_files_named(files, scenario.features):
        for batch in raw_dataset(files, scenario.features, batch_size=_BATCH_SIZE):
            count = int(tf.shape(batch["behavior_count"])[0])
            rows = chosen[(chosen >= seen) & (chosen < seen + count)] - seen
            kept.append({name: values.numpy()[rows] for name, values in batch.items()})
            seen += count
            if seen >= pool:
                break
    return {name: _joined([batch[name] for batch in kept]) for name in kept[0]}


def _joined(arrays: list[np.ndarray]) -> np.ndarray:
    """Rows of all, padded to the widest."""
    if arrays[0].ndim == 1:
        return np.concatenate(arrays)
    width = max(array.shape[1] for array in arrays)
    blank = b"" if arrays[0].dtype == object else 0
    return np.concatenate([np.pad(a, ((0, 0), (0, width - a.shape[1])), constant_values=blank) for a in arrays])
