"""An exported model over many sessions at once, as a Beam job."""

import os
import sys

# These modules import TensorFlow before `model`, which needs its Keras 2; the first import decides.
if "tensorflow" not in sys.modules:
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
