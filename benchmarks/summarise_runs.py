"""The results of `benchmarks.pipeline` from its single runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from benchmarks.measurement import Measurement


def summarise_runs(runs: Mapping[tuple[str, str], Sequence[Measurement]]) -> dict[str, Any]:
    """Medians of time, greatest peaks of memory, and what they say.

    Args:
        runs: by (job, log): of the `pipeline` on the logs start, small, middle, large, skewed
            middle and skewed large, of the `reference` on the middle one.

    Raises:
        ValueError: the reference wrote another number of records, so it did another job.
    """
    ours = {log: of_log for (job, log), of_log in runs.items() if job == "pipeline"}
    reference = runs["reference", "middle"]
    if reference[0].records != ours["middle"][0].records:
        raise ValueError(f"wrote {ours['middle'][0].records} records, the reference {reference[0].records}")
    seconds = {log: median(run.seconds for run in of_log) for log, of_log in ours.items()}
    sessions = {log: of_log[0].sessions for log, of_log in ours.items()}
    memory = {log: max(run.peak_memory_mib for run in of_log) for log, of_log in ours.items()}
    reference_seconds = median(run.seconds for run in reference)
    cpu_seconds = {log: median(run.cpu_seconds for run in of_log) for log, of_log in ours.items()}
    reference_cpu_seconds = median(run.cpu_seconds for run in reference)

    def growth(seconds: Mapping[str, float], start: float = 0) -> float:
        small, large = ((seconds[log] - start) / sessions[log] for log in ("small", "large"))
        return round(large / small, 3)

    return {
        "sessions_per_second": round(sessions["middle"] / seconds["middle"], 1),
        "reference_sessions_per_second": round(sessions["middle"] / reference_seconds, 1),
        "ratio": round(reference_seconds / seconds["middle"], 2),
        "growth": growth(seconds),
        "peak_memory_mib": round(memory["skewed large"]),
        "peak_memory_growth_mib": round(memory["skewed large"] - memory["skewed middle"]),
        "growth_without_start": growth(seconds, seconds["start"]),
        "cpu_ratio": round(reference_cpu_seconds / cpu_seconds["middle"], 2),
        "cpu_growth": growth(cpu_seconds),
        "imports_memory_mib": round(ours["start"][0].imports_memory_mib),
        "reference_peak_memory_mib": round(max(run.peak_memory_mib for run in reference)),
        "reference_seconds": round(reference_seconds, 1),
        "sessions": sessions,
        "seconds": {log: round(value, 1) for log, value in seconds.items()},
        "cpu_seconds": {log: round(value, 1) for log, value in cpu_seconds.items()},
        "reference_cpu_seconds": round(reference_cpu_seconds, 1),
        "runs_seconds": {log: [round(run.seconds, 1) for run in of_log] for log, of_log in ours.items()},
        "memory_mib": {log: round(value) for log, value in memory.items()},
    }
