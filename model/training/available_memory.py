"""How much memory a training may take."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import tensorflow as tf
from tensorflow.python.client import device_lib

_CGROUPS = Path("/sys/fs/cgroup")


class AvailableMemory(NamedTuple):
    """Bytes, and whose they are: `the GPU`, `this machine` or `this container`."""

    bytes: int
    of: str
    on_gpu: bool = False


def available_memory() -> AvailableMemory | None:
    """What there is where TensorFlow puts the embedding tables; None where nobody can tell.

    On GPUs it is the smallest one's, as far as TensorFlow may take it; else what the machine has available, or less
    where a container (cgroup) has a limit.
    """
    if tf.config.list_physical_devices("GPU"):
        # TensorFlow's public functions tell what is in use, not what there is.
        limits = [device.memory_limit for device in device_lib.list_local_devices() if device.device_type == "GPU"]
        return AvailableMemory(min(limits), "the GPU", on_gpu=True)
    bounds = [*_of_machine(), *_of_container()]
    return AvailableMemory(*min(bounds)) if bounds else None


def _of_machine() -> Iterator[tuple[int, str]]:
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        yield 1024 * int(lines["MemAvailable"].split()[0]), "this machine"
    elif "SC_PHYS_PAGES" in os.sysconf_names:
        yield os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), "this machine"


def _of_container() -> Iterator[tuple[int, str]]:
    """What is left below the limit of each control group that this process is in, of both versions."""
    memberships = Path("/proc/self/cgroup")
    if not memberships.exists():
        return
    for line in memberships.read_text().splitlines():
        _, controllers, name = line.split(":", 2)
        if controllers == "":
            yield from _left(_CGROUPS, name, "memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            root = _CGROUPS / "memory"
            yield from _left(root, name, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def _left(root: Path, name: str, limit: str, usage: str, cache: str) -> Iterator[tuple[int, str]]:
    # Within a container its own group may be mounted as the root, under which `name` is not there.
    group = root / name.lstrip("/")
    for directory in (group, *group.parents):
        if not directory.is_relative_to(root):
            break
        try:
            allowed, used = (directory / limit).read_text().strip(), int((directory / usage).read_text())
            statistics = dict(line.split() for line in (directory / "memory.stat").read_text().splitlines())
        except OSError:
            continue
        if allowed != "max":
            # Pages of files that nobody reads any more are given back when memory is short.
            yield int(allowed) - used + int(statistics[cache]), "this container"
