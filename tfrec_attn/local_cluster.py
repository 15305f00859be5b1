"""Trains with several processes of this machine: `python -m tfrec_attn.local_cluster STRATEGY [CONFIG.yaml] [section.key=value ...]`."""

import argparse
import contextlib
import json
import os
import socket
import subprocess
import sys

from tfrec_attn.errors import ConfigError

_SECONDS = 60.0  # that the other processes have when the first has ended


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns the exit code of the first process that failed, or 0; 2 for options that make no sense."""
    parser = argparse.ArgumentParser(
        prog="python -m tfrec_attn.local_cluster",
        description="Starts the processes of a cluster on this machine, each with its TF_CONFIG, and waits for them. On several machines, "
        "set TF_CONFIG and runtime.strategy and run python -m tfrec_attn.train on each.",
    )
    parser.add_argument("strategy", choices=["multi_worker", "parameter_server"])
    parser.add_argument("--workers", type=int, help="of multi_worker; default 2")
    parser.add_argument("--servers", type=int, help="of parameter_server, which has one worker; default 1")
    parser.add_argument("--restart", action="store_true", help="of tfrec_attn.train")
    parser.add_argument("arguments", nargs="*", help="of tfrec_attn.train")
    parsed = parser.parse_intermixed_args(arguments)
    try:
        tasks = jobs(parsed.strategy, parsed.workers, parsed.servers)
    except ConfigError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    processes = start(tasks, parsed.strategy, [*parsed.arguments, *(["--restart"] if parsed.restart else [])])
    try:
        codes = [processes[0].wait(), *(_ended(process) for process in processes[1:])]
    except BaseException:
        for process in processes:
            process.terminate()
        raise
    return next((code for code in codes if code), 0)


def _ended(process: subprocess.Popen) -> int:
    """The exit code of a process once the first has ended; one that still waits for the first is ended."""
    try:
        return process.wait(_SECONDS)
    except subprocess.TimeoutExpired:
        process.terminate()
        process.wait()
        return 0


def jobs(strategy: str, workers: int | None = None, servers: int | None = None) -> dict[str, int]:
    """Number of tasks of each job of a strategy's cluster.

    Args:
      strategy: "multi_worker" or "parameter_server".
      workers: of multi_worker, default 2.
      servers: of parameter_server, default 1.

    Errors: ConfigError for a number below 1, or one of the other strategy.
    """
    for option, count, of in (("workers", workers, "multi_worker"), ("servers", servers, "parameter_server")):
        if count is not None and of != strategy:
            raise ConfigError(f"--{option} is of {of}, but the strategy is {strategy}; leave it out.")
        if count is not None and count < 1:
            raise ConfigError(f"--{option} must be at least 1, but is {count}.")
    if strategy == "multi_worker":
        return {"worker": workers or 2}
    return {"chief": 1, "worker": 1, "ps": servers or 1}


def start(tasks: dict[str, int], strategy: str, arguments: list[str], **options) -> list[subprocess.Popen]:
    """Starts the processes of a cluster, the one that writes first.

    Args:
      tasks: job -> number of its tasks.
      strategy: `runtime.strategy`.
      arguments: of tfrec_attn.train.
      options: of `subprocess.Popen`.
    """
    addresses = iter(_free_addresses(sum(tasks.values())))
    cluster = {job: [next(addresses) for _ in range(count)] for job, count in tasks.items()}
    command = [sys.executable, "-m", "tfrec_attn.train", *map(str, arguments), f"runtime.strategy={strategy}"]
    processes = []
    for job, count in tasks.items():
        for index in range(count):
            task = json.dumps({"cluster": cluster, "task": {"type": job, "index": index}})
            processes.append(subprocess.Popen(command, env={**os.environ, "TF_CONFIG": task}, **options))  # noqa: S603
    return processes


def _free_addresses(count: int) -> list[str]:
    """Addresses of this machine that nobody listens at."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]


if __name__ == "__main__":
    sys.exit(main())
