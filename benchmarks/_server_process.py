"""Runs a server in a process of its own, and reads its processor time and memory."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@contextlib.contextmanager
def process(*command: str, says: str = "gRPC on ") -> Iterator[tuple[int, str]]:
    """Runs a server, and yields (process id, HOST:PORT).

    Args:
        *command: Arguments of Python.
        says: Beginning of the line of output that ends with the address.
    """
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    with subprocess.Popen(
        [sys.executable, *command], cwd=ROOT, stdout=subprocess.PIPE, text=True, env=environment
    ) as server:
        try:
            where = next(
                (line.split()[-1] for line in server.stdout if line.startswith(says)), None
            )
            if where is None:
                raise SystemExit(f"{' '.join(command)} ended before it listened.")
            yield server.pid, where.removeprefix("http://").rstrip("/")
        finally:
            server.terminate()
            server.wait(30)


def processor_seconds(pid: int) -> float:
    """Returns the processor time of a process so far, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mb(pid: int) -> float:
    """Returns the resident memory of a process, in MB."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024
