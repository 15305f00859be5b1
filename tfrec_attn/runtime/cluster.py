"""Reads the tasks of a cluster from the environment variable TF_CONFIG."""

import json
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from tfrec_attn.errors import ConfigError

_STRATEGY = "runtime.strategy=multi_worker"
_JOBS = ("chief", "worker")
_VARIABLE = "TF_CONFIG"


@dataclass(frozen=True)
class Task:
    """A process of a cluster.

    Attributes:
        job: "chief" or "worker".
        index: Index of the task in its job, from 0.
        cluster: Addresses "host:port" of the tasks of each job.
    """

    job: str
    index: int
    cluster: Mapping[str, list[str]]

    @property
    def is_chief(self) -> bool:
        """Whether this process writes the run: the chief, or the first worker without a chief."""
        return self.job == "chief" or ("chief" not in self.cluster and self.index == 0)

    @property
    def chief_address(self) -> str:
        """Address of the process that writes the run."""
        return self.cluster["chief" if "chief" in self.cluster else "worker"][0]

    def others(self) -> dict[str, str]:
        """Returns the addresses of the other tasks by name, such as "worker 1"."""
        names = {
            f"{job} {index}": address
            for job, tasks in self.cluster.items()
            for index, address in enumerate(tasks)
        }
        del names[f"{self.job} {self.index}"]
        return names


def this_task(strategy: str) -> Task | None:
    """Returns the task of this process in TF_CONFIG, or None for a strategy of one process.

    Args:
        strategy: `runtime.strategy` of the configuration.

    Raises:
        ConfigError: If TF_CONFIG is missing, malformed, or describes an unsupported cluster.
    """
    if strategy != "multi_worker":
        return None
    text = os.environ.get(_VARIABLE)
    if not text:
        raise ConfigError(
            f"{_STRATEGY} needs {_VARIABLE}, the JSON text of a cluster and of this task, "
            "but it is not set."
        )
    try:
        tree = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{_VARIABLE} must be JSON, but is not: {error}.") from None
    for key in ("cluster", "task"):
        if not isinstance(tree, dict) or not isinstance(tree.get(key), dict):
            raise ConfigError(
                f"{_VARIABLE} must be a JSON object with the objects cluster and task, "
                f"but has no {key}."
            )
    cluster = _checked_cluster(tree["cluster"])
    job, index = tree["task"].get("type"), tree["task"].get("index")
    if not isinstance(job, str) or job not in cluster:
        raise ConfigError(
            f"task.type of {_VARIABLE} must be one of its cluster, {', '.join(cluster)}, "
            f"but is {job!r}."
        )
    if type(index) is not int or not 0 <= index < len(cluster[job]):
        raise ConfigError(
            f"task.index of {_VARIABLE} must be from 0 to {len(cluster[job]) - 1}, "
            f"the tasks in its cluster, but is {index!r}."
        )
    return Task(job, index, cluster)


def _checked_cluster(cluster: dict) -> dict[str, list[str]]:
    for job, addresses in cluster.items():
        if job not in _JOBS:
            raise ConfigError(
                f"{_STRATEGY} takes the jobs {', '.join(_JOBS)}, "
                f"but the cluster of {_VARIABLE} has {job!r}."
            )
        if not isinstance(addresses, list) or not all(map(_is_address, addresses)):
            raise ConfigError(
                f"cluster.{job} of {_VARIABLE} must be a list of addresses host:port, "
                f"but is {addresses!r}."
            )
    if (count := len(cluster.get("chief", []))) > 1:
        raise ConfigError(
            f"{_STRATEGY} needs at most 1 chief in the cluster of {_VARIABLE}, but it has {count}."
        )
    everyone = [address for addresses in cluster.values() for address in addresses]
    if not everyone:
        raise ConfigError(
            f"{_STRATEGY} needs a worker in the cluster of {_VARIABLE}, but it has none."
        )
    if len(set(everyone)) < len(everyone):
        raise ConfigError(
            f"the tasks in the cluster of {_VARIABLE} must have different addresses, "
            f"but have {', '.join(everyone)}."
        )
    return {job: addresses for job, addresses in cluster.items() if addresses}


def _is_address(text: object) -> bool:
    host, _, port = text.rpartition(":") if isinstance(text, str) else ("", "", "")
    return bool(host) and port.isascii() and port.isdigit() and 0 < int(port) < 1 << 16


def host_and_port(address: str) -> tuple[str, int]:
    """Splits an address host:port; the brackets of an IPv6 host are removed."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def is_reachable(address: str) -> bool:
    """Returns whether a process listens at an address host:port."""
    try:
        socket.create_connection(host_and_port(address), timeout=2.0).close()
    except OSError:
        return False
    return True
