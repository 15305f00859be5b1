"""Measures the preparation of a log on an engine of Apache Beam, and by the local command.

    make engines
    python benchmarks/engines.py [--rows 1000000] [--engine flink] [--workers 2] [--shards N]

The log has eight TSVs, written as in `benchmarks/data.py`. First `tfrec_attn.data.prepare` prepares
it, then `tfrec_attn.data.pipeline` on the embedded cluster of the engine, with worker processes on
this machine. `same_bytes` says whether both folders have the same content. Five times a second, the
program reads the memory and the processor seconds of the workers. `worker_peak_mb` is the largest
resident set of a worker. The processor seconds of `beam` are those of the command and the engine,
without the workers.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from _machine import add_json, write_json
from _workers import ENGINES, ROOT, RUNNERS, memory_of_children, seconds_of_children, worker_pool
from data import write_log

from tfrec_attn.files.checksums import file_sha256

_FILES = 8


def run(
    rows: int, engine: str, workers: int, shards: int | None, folder: Path
) -> dict[str, object]:
    """Writes a log, prepares it twice, and returns the figures."""
    for part in range(_FILES):
        users, items = rows * 3 // 100, max(2_000, rows // 200)
        write_log(folder / f"log-{part}.tsv", rows // _FILES, users, items, 2024, part, _FILES)
    wanted = [] if shards is None else ["--shards", str(shards)]
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

    local = timed("tfrec_attn.data.prepare", *logs, "--to", str(folder / "local"), *wanted)
    peaks, used, running = {}, {}, threading.Event()
    with worker_pool() as (pool, port):

        def watch() -> None:
            while not running.wait(0.2):
                for child, peak in memory_of_children(pool).items():
                    peaks[child] = max(peak, peaks.get(child, 0))
                used.update(seconds_of_children(pool))

        thread = threading.Thread(target=watch)
        thread.start()
        beam = timed(
            "tfrec_attn.data.pipeline", "--input", *logs, "--to", str(folder / "beam"), *wanted,
            *RUNNERS[engine], f"--parallelism={workers}", f"--sdk_worker_parallelism={workers}",
            "--environment_type=EXTERNAL", f"--environment_config=localhost:{port}",
        )  # fmt: skip
        running.set()
        thread.join()
    contents = [
        {one.name: file_sha256(one) for one in (folder / name).iterdir()}
        for name in ("local", "beam")
    ]
    return {
        "rows": rows,
        "engine": engine,
        "workers": workers,
        "local": local,
        "beam": beam,
        "ratio": round(beam["seconds"] / local["seconds"], 2),
        "worker_peak_mb": round(max(peaks.values())),
        "worker_processes": len(used),
        "worker_processor_seconds": round(sum(used.values()), 1),
        "load": os.getloadavg()[0],
        "same_bytes": contents[0] == contents[1],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--engine", choices=RUNNERS, default="flink")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--shards", type=int, help="default: one for each million events")
    add_json(parser)
    args = parser.parse_args()
    if not ENGINES.is_dir():
        raise SystemExit(f"{ENGINES} does not exist: run make engines.")
    with tempfile.TemporaryDirectory() as folder:
        result = run(args.rows, args.engine, args.workers, args.shards, Path(folder))
    print(json.dumps(result, indent=2))
    if args.json:
        write_json(args.json, result)


if __name__ == "__main__":
    main()
