"""Embedding tables for TensorBoard's projector."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path

import numpy as np

from model.ranker import Ranker
from pipeline.encoding_assets import EncodingAssets
from pipeline.features import Features

#: Rows of a table that are written; the browser shows no more. Of a vocabulary they are the most frequent values'.
MOST_ROWS = 10_000
_CONFIG = "projector_config.pbtxt"


def write_projector(model: Ranker, features: Features, assets: EncodingAssets, directory: Path) -> None:
    """Writes each embedding table with the names of its rows.

    projector_config.pbtxt    names the others
    <table>.tensors.tsv       the first 10,000 rows
    <table>.names.tsv         a vocabulary's values, and `(missing)`, `(other 1)`, `(bucket 1)`

    The projector finds it in a directory with event files. It needs no checkpoint.

    Args:
        model: built.
        features: whose tables they are.
        assets: with the vocabularies.
        directory: made when it is not there.
    """
    directory.mkdir(parents=True, exist_ok=True)
    config = []
    for table, weights in model.embedding.tables.items():
        rows = weights[:MOST_ROWS].numpy()
        tensors, names = f"{table}.tensors.tsv", f"{table}.names.tsv"
        np.savetxt(directory / tensors, rows, fmt="%.6g", delimiter="\t")
        lines = (f"{name}\n" for name in islice(_names(table, features, assets), len(rows)))
        (directory / names).write_text("".join(lines), encoding="utf-8")
        config.append(
            f'embeddings {{\n  tensor_name: "{table}"\n  tensor_shape: {len(rows)}\n  tensor_shape: {rows.shape[1]}\n'
            f'  tensor_path: "{tensors}"\n  metadata_path: "{names}"\n}}\n'
        )
    (directory / _CONFIG).write_text("".join(config), encoding="utf-8")


def _names(table: str, features: Features, assets: EncodingAssets) -> Iterator[str]:
    """Of the table's rows, in their order."""
    declared = features.tables.get(table)
    if declared is None or declared.hash_buckets:
        return chain(["(missing)"], _numbered("bucket"))
    values = (value.replace("\t", " ").replace("\r", " ") for value in assets.vocabulary(table))
    return chain(["(missing)"], islice(_numbered("other"), declared.oov_buckets), values)


def _numbered(kind: str) -> Iterator[str]:
    return (f"({kind} {number})" for number in range(1, MOST_ROWS + 1))
