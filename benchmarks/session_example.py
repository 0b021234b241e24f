"""One made-up session as a record, for measurements and tests."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from pipeline.features import COUNTS, RECORD_COLUMNS, Features


def session_example(features: Features, raw: Mapping[str, np.ndarray], row: int) -> bytes:
    """A session as the pipeline writes it: lists end where the session does, no padding.

    Args:
        features: the scenario's declaration.
        raw: every column of a record, `[B]`, `[B, T]` or `[B, N]`; strings as `str` or `bytes`.
        row: which session.
    """
    lengths = {"": 1, "T": int(raw["behavior_count"][row]), "N": int(raw["candidate_count"][row])}
    example = tf.train.Example()
    for spec in (*(f.spec for f in features.encoded), *COUNTS, *RECORD_COLUMNS):
        values = np.atleast_1d(raw[spec.name][row])[: lengths[spec.axis]]
        feature = example.features.feature[spec.name]
        if spec.dtype == "string":
            feature.bytes_list.value.extend(map(tf.compat.as_bytes, values))
        elif spec.dtype == "int64":
            feature.int64_list.value.extend(values.tolist())
        else:
            feature.float_list.value.extend(values.tolist())
    return example.SerializeToString()
