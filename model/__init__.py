"""AW-MoE in Keras 2, which TensorFlow Recommenders needs.

TensorFlow chooses its Keras once, when it is imported; hence the check here, before any module does.
"""

import os
import sys

if "tensorflow" not in sys.modules:
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
if os.environ.get("TF_USE_LEGACY_KERAS") not in ("1", "true", "True"):
    raise ImportError(
        "the model needs Keras 2: import `model` before `tensorflow`, or set TF_USE_LEGACY_KERAS=1 in the environment"
    )
