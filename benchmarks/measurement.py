"""What one run of a job took."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Measurement:
    """One run of a job in a process of its own.

    Attributes:
        seconds: from the call of the job to its return, by the clock.
        cpu_seconds: of all threads and child processes in that time.
        peak_memory_mib: the most memory that the process, or a child of it, held at once.
        imports_memory_mib: what it held before the call, most of it libraries.
        sessions: rows of the sessions table that the job read; 0 where it does not count them.
        records: written, by part.
    """

    seconds: float
    cpu_seconds: float
    peak_memory_mib: float
    imports_memory_mib: float
    sessions: int
    records: dict[str, int]
