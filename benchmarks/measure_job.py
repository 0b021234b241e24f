"""Runs the pipeline or its reference once, and prints what it took as one line of JSON.

    python -m benchmarks.measure_job pipeline --input data/log --output prepared

`benchmarks.pipeline` starts one such process for each measurement: peak memory is then that of one
run. Both jobs are imported, whichever runs, so that both start from the same memory; the time of
the imports is not measured. With `--profile` the job runs under cProfile, which makes it slower, and
its dearest functions are printed to standard error, in seconds of processors: those of this
repository by cumulative time, and all by their own. Linux only: memory is read from /proc.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import pstats
import re
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

from benchmarks.measurement import Measurement

_ROOT = Path(__file__).parent.parent
_CONFIG = _ROOT / "configs" / "search.yaml"
_FUNCTIONS = 25
T = TypeVar("T")


def measure_job(job: str, input_path: str, output: str, *, profile: bool = False) -> Measurement:
    """Runs `pipeline` or `reference` on a raw log, with the search scenario, on one worker.

    Args:
        job: which of the two.
        input_path: the raw log's directory.
        output: a directory that is not there yet.
        profile: print the dearest functions to standard error.
    """
    from pipeline.quiet_tensorflow import quiet_tensorflow
    from pipeline.scenario_file import load_scenario

    with quiet_tensorflow():
        from benchmarks.reference_pipeline import reference_preprocess
        from pipeline.prepared_data import PARTS
        from pipeline.run import preprocess

    scenario = load_scenario(_CONFIG)
    imports_memory = _peak_memory_mib()
    clock, cpu = time.perf_counter(), _cpu_seconds()
    sessions = 0
    if job == "pipeline":
        manifest = _profiled(profile, lambda: preprocess(scenario, input_path, output))
        sessions = manifest["runs"][-1]["counters"]["read/sessions"]
        records = {str(part): manifest["parts"][part]["sessions"] for part in PARTS}
    else:
        records = _profiled(profile, lambda: reference_preprocess(scenario, input_path, output))
    return Measurement(
        seconds=time.perf_counter() - clock,
        cpu_seconds=_cpu_seconds() - cpu,
        peak_memory_mib=_peak_memory_mib(),
        imports_memory_mib=imports_memory,
        sessions=sessions,
        records=records,
    )


def _profiled(profile: bool, call: Callable[[], T]) -> T:
    if not profile:
        return call()
    profiler = cProfile.Profile(time.process_time)  # other programs on the machine do not show
    result = profiler.runcall(call)
    statistics = pstats.Stats(profiler, stream=sys.stderr)
    # By cumulative time the frames of Beam would come first, which say nothing.
    statistics.sort_stats("cumulative").print_stats(rf"^{re.escape(str(_ROOT))}/\w+/(\w+/)?\w+\.py", _FUNCTIONS)
    statistics.strip_dirs().sort_stats("tottime").print_stats(_FUNCTIONS)
    return result


def _peak_memory_mib() -> float:
    # `ru_maxrss` of a process begins with the memory of the one that started it; the kernel's VmHWM does not.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    own = int(status.partition("VmHWM:")[2].split(maxsplit=1)[0])
    return max(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) / 1024


def _cpu_seconds() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def main() -> None:
    """Measures one job from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("job", choices=["pipeline", "reference"])
    parser.add_argument("--input", required=True, help="directory of a raw log")
    parser.add_argument("--output", required=True, help="directory to make")
    parser.add_argument("--profile", action="store_true", help="print the dearest functions to standard error")
    arguments = parser.parse_args()
    measured = measure_job(arguments.job, arguments.input, arguments.output, profile=arguments.profile)
    print(json.dumps(asdict(measured)))


if __name__ == "__main__":
    main()
