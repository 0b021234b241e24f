"""Where a training runs: on one device, on all of a machine, or on those of several machines."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import tensorflow as tf
from tensorflow.compiler.xla.tsl.protobuf.coordination_config_pb2 import CoordinatedJob
from tensorflow.python.eager import context

from pipeline.errors import InputError

StrategyName = Literal["none", "mirrored", "multi_worker"]
#: After how long a silence a worker is taken for lost.
_SILENT_SECONDS = 60
_EXAMPLE = '{"cluster": {"worker": ["host-0:2222", "host-1:2222"]}, "task": {"type": "worker", "index": 0}}'


def distribution_strategy(
    name: StrategyName, tell: Callable[[str], object] = lambda line: None
) -> tf.distribute.Strategy:
    """The strategy of that name; each replica of it trains on a part of every batch.

    - `none`: one replica, TensorFlow's default.
    - `mirrored`: one a GPU of this machine; one a logical CPU where there is no GPU.
    - `multi_worker`: one a GPU (or one on the CPU) of every machine that the environment's `TF_CONFIG` names. It
      must be made before TensorFlow does anything else, and waits for the other workers.

    Args:
        name: one of the above.
        tell: gets a line before others are waited for.

    Raises:
        InputError: `TF_CONFIG` is missing or malformed.
    """
    if name == "none":
        return tf.distribute.get_strategy()
    if name == "mirrored":
        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        return tf.distribute.MirroredStrategy([device.name for device in devices])
    _be_patient(_cluster(os.environ.get("TF_CONFIG", "")))
    tell("multi_worker: begins when all workers of TF_CONFIG are there")
    return tf.distribute.MultiWorkerMirroredStrategy()


def wait_for_workers(strategy: tf.distribute.Strategy, at: int = 0) -> None:
    """Returns when every worker has called it as often.

    Args:
        at: where this one is.

    Raises:
        InputError: another one is elsewhere.
    """
    if not strategy.cluster_resolver:
        return

    def own() -> tf.Tensor:
        return tf.constant([at], tf.int64)

    @tf.function
    def of_all() -> tf.Tensor:
        return strategy.gather(strategy.run(own), axis=0)

    places = sorted(set(of_all().numpy().tolist()))
    if len(places) > 1:
        raise InputError(
            f"training: the workers would go on from different steps ({', '.join(map(str, places))}); do all of them "
            "see the same run directory? Start all of them again"
        )


@contextmanager
def lost_workers_told(strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Turns TensorFlow's error about another worker that is gone into one that tells what to do.

    Raises:
        InputError: a worker was lost.
    """
    try:
        yield
    except (tf.errors.UnavailableError, tf.errors.AbortedError) as error:
        if not strategy.cluster_resolver:
            raise
        raise InputError(
            "training: a worker was lost, or this one lost the others; look at what the others told, and start all of "
            "them again: they continue from the last checkpoint"
        ) from error


def _be_patient(cluster: Mapping[str, Sequence[str]]) -> None:
    """What the strategy would set itself, but for the time: a busy machine may well be silent for its 10 seconds."""
    leader = "chief" if "chief" in cluster else "worker"
    context.context().configure_coordination_service(
        service_type="standalone",
        service_leader=f"/job:{leader}/replica:0/task:0",
        heartbeat_timeout_in_ms=1000 * _SILENT_SECONDS,
        coordinated_jobs=[CoordinatedJob(name=job, num_tasks=len(cluster[job])) for job in cluster],
    )


def _cluster(text: str) -> dict[str, list[str]]:
    """Addresses by job.

    Raises:
        InputError: where TensorFlow would raise something obscure, or wait for ever.
    """
    if not text:
        raise InputError(f"TF_CONFIG: is not set; --strategy multi_worker needs it on each machine, as {_EXAMPLE}")
    try:
        config = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"TF_CONFIG: is no JSON ({error}); write it as {_EXAMPLE}") from error
    if why := _why_no_cluster(config):
        raise InputError(f"TF_CONFIG: {why}; write it as {_EXAMPLE}")
    return config["cluster"]


def _why_no_cluster(config: Any) -> str:
    cluster, task = (config.get(key) if isinstance(config, dict) else None for key in ("cluster", "task"))
    if not isinstance(cluster, dict) or not isinstance(task, dict):
        return "needs `cluster` and `task`"
    if unknown := set(cluster) - {"chief", "worker"}:
        return f"cluster: has `{min(unknown)}`; only `worker`, and at most one `chief`, have a part in a training"
    for job, addresses in cluster.items():
        if not isinstance(addresses, list) or not addresses:
            return f"cluster: {job}: must be a list of addresses"
        for address in addresses:
            if not isinstance(address, str) or not re.fullmatch(r".+:\d+", address):
                return f"cluster: {job}: `{address}` is no host:port"
    everyone = [address for addresses in cluster.values() for address in addresses]
    if len(set(everyone)) < len(everyone) or len(cluster.get("chief", [])) > 1:
        return "cluster: has an address twice, or more than one chief"
    kind, index = task.get("type"), task.get("index")
    if kind not in cluster:
        return f"task: type `{kind}` is not in the cluster"
    if not isinstance(index, int) or not 0 <= index < len(cluster[kind]):
        return f"task: index `{index}` is none of the {len(cluster[kind])} addresses of `{kind}`"
    return ""
