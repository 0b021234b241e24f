"""Vocabularies and statistics of an earlier run, for a run that keeps them."""

from __future__ import annotations

import json
import tempfile

from pipeline.encoding_assets import STATISTICS, VOCABULARIES, EncodingAssets
from pipeline.errors import InputError
from pipeline.features import Features
from pipeline.folder import Folder
from pipeline.prepared_data import MANIFEST


def copy_encoding_assets(source: str, target: Folder, features: Features) -> None:
    """Copies vocabularies and statistics to a folder.

    Args:
        source: prepared data or a run directory, on any file system that Beam knows.
        target: where to.
        features: they must serve.

    Raises:
        InputError: `source` has none, or lacks a table or a number of `features`.
    """
    folder = Folder.at(source)
    directory = ""
    try:
        if folder.has(MANIFEST):
            folder /= json.loads(folder.read(MANIFEST))["latest"]
        with tempfile.TemporaryDirectory() as directory:
            names = [f"{VOCABULARIES}/{name}.txt" for name, t in features.tables.items() if t.hash_buckets is None]
            local = Folder.at(directory)
            for name in (STATISTICS, *names):
                if folder.has(name):
                    local.write(name, folder.read(name))
            EncodingAssets.load(directory, features)  # checks that all is there
            for name in local.files():
                target.write(name, local.read(name))
    except InputError as error:
        raise InputError(str(error).replace(directory, folder.path)) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{source}: has no vocabularies that can be read ({error})") from None
