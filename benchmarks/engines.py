"""Measures the preparation of a log on an engine of Apache Beam against the local command.

    make engines
    python benchmarks/engines.py [--rows 1000000] [--engine flink] [--workers 2] [--json FILE]

The log has eight TSVs, written as by `benchmarks/data.py`. It is prepared by
`tfrec_attn.data.prepare`, and then by `tfrec_attn.data.pipeline` on the embedded cluster of the
engine, with worker processes of this machine. Both folders must have the same bytes. Peak memory is
the largest resident set of a worker, in MB, looked at five times a second.
"""

import argparse
import json
import os
import re
import resource
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from _machine import write_json

from benchmarks.data import write_log

ENGINES = ROOT / ".engines"
RUNNERS = {
    "flink": ["--runner=FlinkRunner", f"--flink_job_server_jar={ENGINES}/flink-job-server.jar"],
    "spark": ["--runner=SparkRunner", f"--spark_job_server_jar={ENGINES}/spark-job-server.jar"],
    "prism": ["--runner=PrismRunner", f"--prism_location={ENGINES}/prism"],
}
_FILES = 8


@contextmanager
def worker_pool() -> Iterator[tuple[int, int]]:
    """Starts a pool that starts worker processes; yields its process and its port."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    # The pool starts the program `python`.
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    module = "apache_beam.runners.worker.worker_pool_main"
    pool = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", module, f"--service_port={port}"],
        env=environment,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield pool.pid, port
    finally:
        pool.terminate()
        pool.wait()


def memory_of_children(parent: int) -> dict[int, float]:
    """Returns the peak resident MB so far of each worker of a pool."""
    found = {}
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            text = status.read_text(encoding="utf-8")
        except OSError:
            continue
        if f"\nPPid:\t{parent}\n" in text and (peak := re.search(r"VmHWM:\s+(\d+)", text)):
            found[int(status.parent.name)] = int(peak[1]) / 1024
    return found


def run(rows: int, engine: str, workers: int, folder: Path) -> dict[str, object]:
    """Writes a log, prepares it twice, and returns the figures."""
    for part in range(_FILES):
        users, items = rows * 3 // 100, max(2_000, rows // 200)
        write_log(folder / f"log-{part}.tsv", rows // _FILES, users, items, 2024, part, _FILES)
    logs = [str(path) for path in sorted(folder.glob("log-*.tsv"))]
    command = [sys.executable, "-W", "ignore", "-m"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def timed(*arguments: str) -> dict[str, float]:
        begin, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [*command, *arguments], env=environment, check=False, capture_output=True, text=True
        )
        if done.returncode:
            raise SystemExit(done.stderr)
        seconds, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
        processor = after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
        return {"seconds": round(seconds, 1), "processor_seconds": round(processor, 1)}

    local = timed("tfrec_attn.data.prepare", *logs, "--to", str(folder / "local"))
    peaks, running = {}, threading.Event()
    with worker_pool() as (pool, port):

        def watch() -> None:
            while not running.wait(0.2):
                for child, peak in memory_of_children(pool).items():
                    peaks[child] = max(peak, peaks.get(child, 0))

        thread = threading.Thread(target=watch)
        thread.start()
        beam = timed(
            "tfrec_attn.data.pipeline", "--input", *logs, "--to", str(folder / "beam"),
            *RUNNERS[engine], f"--parallelism={workers}", f"--sdk_worker_parallelism={workers}",
            "--environment_type=EXTERNAL", f"--environment_config=localhost:{port}",
        )  # fmt: skip
        running.set()
        thread.join()
    same = subprocess.run(["diff", "-rq", str(folder / "local"), str(folder / "beam")]).returncode
    return {
        "rows": rows,
        "engine": engine,
        "workers": workers,
        "local": local,
        "beam": beam,
        "ratio": round(beam["seconds"] / local["seconds"], 2),
        "worker_peak_mb": round(max(peaks.values())),
        "load": os.getloadavg()[0],
        "same_bytes": not same,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--engine", choices=RUNNERS, default="flink")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    args = parser.parse_args()
    if not ENGINES.is_dir():
        raise SystemExit(f"{ENGINES} does not exist: run make engines.")
    with tempfile.TemporaryDirectory() as folder:
        result = run(args.rows, args.engine, args.workers, Path(folder))
    print(json.dumps(result, indent=2))
    if args.json:
        write_json(args.json, result)


if __name__ == "__main__":
    main()
