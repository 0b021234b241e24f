"""Imports TensorFlow without its start-up noise; a real warning still shows."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

#: What TensorFlow prints at every start on a machine without a GPU; says nothing a user can act on.
_NOISE = re.compile(
    r"All log messages before absl::InitializeLog"
    r"|oneDNN custom operations are on"
    r"|Could not find cuda drivers"
    r"|failed call to cuInit"
    r"|TensorFlow binary is optimized to use available CPU instructions"
    r"|To enable the following instructions"
)


@contextmanager
def quiet_tensorflow() -> Iterator[None]:
    """Sets what TensorFlow Recommenders needs and filters the noise of the imports inside.

    TensorFlow writes to the file descriptor, before any logger can be set up, so the
    descriptor is what is caught; every line that is no known noise is given back.

    Example:
        with quiet_tensorflow():
            from model.training.train import train
    """
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    sys.stderr.flush()
    descriptor = os.dup(2)
    with tempfile.TemporaryFile() as caught:
        os.dup2(caught.fileno(), 2)
        try:
            yield
            # the device is looked for at the first use, not at the import
            if "tensorflow" in sys.modules:
                sys.modules["tensorflow"].config.list_physical_devices()
                sys.modules["tensorflow"].constant(0)
        finally:
            sys.stderr.flush()
            os.dup2(descriptor, 2)
            os.close(descriptor)
            caught.seek(0)
            for line in caught.read().decode(errors="replace").splitlines():
                if not _NOISE.search(line):
                    print(line, file=sys.stderr)
