"""The library DeepCTR, imported without its question to the package index."""

from __future__ import annotations

import sys
import types
from typing import Any


def deepctr_library() -> tuple[Any, Any]:
    """DeepCTR's `feature_column` and `DIN`.

    On import it asks the package index for newer versions, in a thread that may hold up the end of the
    process; an empty answer in that module's place leaves the question out.
    """
    if "deepctr" not in sys.modules:
        utils = types.ModuleType("deepctr.utils")
        utils.check_version = lambda version: None  # type: ignore[attr-defined]
        sys.modules["deepctr.utils"] = utils
    from deepctr import feature_column
    from deepctr.models import DIN

    return feature_column, DIN
