"""Seconds and memory to read, prepare and split a large log.

    python benchmarks/data.py [--rows 10000000] [--json FILE]

Writes a TSV of that many rows in a temporary folder (300,000 users and 50,000 items at 10 million rows, both with a long tail), then
times each stage in a fresh process; peak memory is that process's resident set at the end of the stage, in MB.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


def write_log(path: Path, rows: int, seed: int = 2024) -> None:
    """Writes user_id, item_id, rating and timestamp, in order of time."""
    import numpy as np
    import polars as pl

    random = np.random.default_rng(seed)
    columns = {
        "user_id": (max(1, rows * 3 // 100) * random.random(rows) ** 1.5).astype(np.int64),
        "item_id": (max(1, rows // 200) * random.random(rows) ** 3).astype(np.int64),
        "rating": random.integers(1, 6, rows),
        "timestamp": np.sort(random.integers(1_500_000_000, 1_600_000_000, rows)),
    }
    pl.DataFrame(columns).write_csv(path, separator="\t")


def measure(path: Path) -> list[dict[str, object]]:
    """Runs the stages on a log and returns name, seconds, events per second and peak MB of each."""
    stages, start = [], time.perf_counter()

    def done(stage: str, events: int) -> None:
        nonlocal start
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        stages.append({"stage": stage, "seconds": round(seconds, 3), "events_per_second": round(events / seconds), "peak_mb": round(peak)})
        start = time.perf_counter()

    from tfrec_attn.data.interactions import read_interactions
    from tfrec_attn.data.preparation import prepare
    from tfrec_attn.data.splits import leak_report, leave_one_out

    done("import", 0)
    frame = read_interactions(path).frame
    rows = frame.height
    done("read", rows)
    sequences, _ = prepare(frame, min_user_events=5, min_item_events=5)
    done("prepare (5-core)", rows)
    split = leave_one_out(sequences)
    done("split", len(sequences.items))
    leak_report(split)
    done("leak report", len(sequences.items))
    return stages


def run(rows: int) -> dict[str, object]:
    """Writes the log, measures it in a fresh process, and returns the figures with what they were taken on."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.tsv"
        _child("--write", path, "--rows", rows)  # apart, since a process starts with the peak memory of the one that made it
        size = path.stat().st_size
        stages = json.loads(_child("--measure", path))
    total = {
        "seconds": round(sum(stage["seconds"] for stage in stages), 3),
        "peak_mb": max(stage["peak_mb"] for stage in stages),
    }
    machine = {"cores": len(os.sched_getaffinity(0)), "python": platform.python_version()}
    return {"rows": rows, "file_mb": round(size / 1e6), "stages": stages, "total": total, **machine}


def _child(*args: object) -> str:
    return subprocess.run([sys.executable, __file__, *map(str, args)], check=True, stdout=subprocess.PIPE, text=True).stdout  # noqa: S603


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.write:
        write_log(args.write, args.rows)
        return
    if args.measure:
        print(json.dumps(measure(args.measure)))
        return
    result = run(args.rows)
    print(f"{result['rows']:,} rows, {result['file_mb']} MB, {result['cores']} cores")
    print(f"{'stage':<20}{'seconds':>10}{'events/s':>18}{'peak MB':>10}")
    for stage in result["stages"]:
        print(f"{stage['stage']:<20}{stage['seconds']:>10.2f}{stage['events_per_second']:>18,}{stage['peak_mb']:>10,}")
    print(f"{'total':<20}{result['total']['seconds']:>10.2f}{'':>18}{result['total']['peak_mb']:>10,}")
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
