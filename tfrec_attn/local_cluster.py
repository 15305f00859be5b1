"""Trains with several processes on this machine: `python -m tfrec_attn.local_cluster ...`."""

import contextlib
import json
import os
import socket
import subprocess
import sys
from typing import Any

from tfrec_attn.cli.arguments import Arguments, require_at_least
from tfrec_attn.cli.terminal import reporting

_TIMEOUT = 60.0  # seconds for the other processes to end after the first


@reporting()
def main(arguments: list[str] | None = None) -> int:
    """Runs the command.

    Returns:
        The exit code of the first process that failed, or 0; 2 for invalid options.
    """
    parser = Arguments(
        prog="python -m tfrec_attn.local_cluster",
        description="Starts the processes of a cluster on this machine, each with its TF_CONFIG, "
        "and waits for them. On several machines, set TF_CONFIG and runtime.strategy=multi_worker, "
        "and run python -m tfrec_attn.train on each.",
    )
    parser.add_argument(
        "--workers", type=int, default=2, help="processes that share each batch; default 2"
    )
    parser.add_argument("--restart", action="store_true", help="as for tfrec_attn.train")
    parser.add_argument("arguments", nargs="*", help="arguments of tfrec_attn.train")
    parsed = parser.parse_intermixed_args(arguments)
    require_at_least(1, parsed, "workers")
    processes = start(
        parsed.workers, [*parsed.arguments, *(["--restart"] if parsed.restart else [])]
    )
    try:
        codes = [processes[0].wait(), *map(_wait, processes[1:])]
    except BaseException:
        for process in processes:
            process.terminate()
        raise
    return next((code for code in codes if code), 0)


def _wait(process: subprocess.Popen) -> int:
    """Waits for a process after the first one, and terminates it after a timeout."""
    try:
        return process.wait(_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.terminate()
        process.wait()
        return 0


def start(workers: int, arguments: list[str], **options: Any) -> list[subprocess.Popen]:
    """Starts the workers of a cluster, the chief first.

    Args:
        workers: Number of processes.
        arguments: Arguments of tfrec_attn.train.
        **options: Keywords of `subprocess.Popen`.
    """
    cluster = {"worker": _free_addresses(workers)}
    command = [
        sys.executable,
        "-m",
        "tfrec_attn.train",
        *map(str, arguments),
        "runtime.strategy=multi_worker",
    ]
    processes = []
    for index in range(workers):
        task = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}})
        processes.append(
            subprocess.Popen(command, env={**os.environ, "TF_CONFIG": task}, **options)
        )
    return processes


def _free_addresses(count: int) -> list[str]:
    """Returns free addresses of this machine."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]


if __name__ == "__main__":
    sys.exit(main())
