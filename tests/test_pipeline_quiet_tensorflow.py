"""The start is silent, and only of noise."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def stderr_of(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stderr


def test_noise_is_dropped_and_a_real_warning_stays() -> None:
    shown = stderr_of(
        "import os, warnings\n"
        "from pipeline.quiet_tensorflow import quiet_tensorflow\n"
        "with quiet_tensorflow():\n"
        "    import tensorflow\n"
        "    os.write(2, b'W0000 the disk is nearly full\\n')\n"
        "    warnings.warn('a real warning')\n"
    )
    assert "the disk is nearly full" in shown
    assert "a real warning" in shown
    rest = [line for line in shown.splitlines() if "disk" not in line and "real warning" not in line]
    assert rest == ["  warnings.warn('a real warning')"] or not rest, f"noise came through: {rest}"


def test_an_error_inside_still_shows_what_was_caught() -> None:
    shown = stderr_of(
        "import os\n"
        "from pipeline.quiet_tensorflow import quiet_tensorflow\n"
        "try:\n"
        "    with quiet_tensorflow():\n"
        "        os.write(2, b'the library is broken\\n')\n"
        "        raise ImportError('x')\n"
        "except ImportError:\n"
        "    pass\n"
    )
    assert shown == "the library is broken\n"
