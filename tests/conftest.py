"""TensorFlow Recommenders needs Keras 2; the variable must be set before TensorFlow is imported."""

import os

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")

from hypothesis import settings

# these machines are shared: how long an example takes says nothing
settings.register_profile("project", deadline=None)
settings.load_profile("project")
