"""The Apache Beam engines of `make engines`, and a pool of worker processes for them."""

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENGINES = ROOT / ".engines"
RUNNERS = {
    "flink": ["--runner=FlinkRunner", f"--flink_job_server_jar={ENGINES}/flink-job-server.jar"],
    "spark": ["--runner=SparkRunner", f"--spark_job_server_jar={ENGINES}/spark-job-server.jar"],
    "prism": ["--runner=PrismRunner", f"--prism_location={ENGINES}/prism"],
}


@contextmanager
def worker_pool(*folders: Path) -> Iterator[tuple[int, int]]:
    """Runs a pool that starts worker processes, and yields (its process id, its port).

    Args:
        *folders: First folders of the import path of the workers.
    """
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    # The pool starts workers with the program `python` of the path.
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": ":".join(map(str, [*folders, ROOT]))}
    module = "apache_beam.runners.worker.worker_pool_main"
    pool = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", module, f"--service_port={port}"],
        env=environment,
        stderr=subprocess.DEVNULL,
    )
    try:
        while pool.poll() is None and not _answers(port):
            pass
        yield pool.pid, port
    finally:
        pool.terminate()
        pool.wait()


def memory_of_children(parent: int) -> dict[int, float]:
    """Returns the peak resident memory so far of each worker of a pool, in MB by process id."""
    found = {}
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            text = status.read_text(encoding="utf-8")
        except OSError:
            continue
        if f"\nPPid:\t{parent}\n" in text and (peak := re.search(r"VmHWM:\s+(\d+)", text)):
            found[int(status.parent.name)] = int(peak[1]) / 1024
    return found


def seconds_of_children(parent: int) -> dict[int, float]:
    """Returns the processor seconds so far of each worker of a pool, by process id."""
    found, tick = {}, os.sysconf("SC_CLK_TCK")
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name of the program comes first and can contain blanks.
            fields = path.read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == parent:
            found[int(path.parent.name)] = (int(fields[11]) + int(fields[12])) / tick
    return found


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("localhost", port), 1).close()
    except OSError:
        time.sleep(0.05)
        return False
    return True
