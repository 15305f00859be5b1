"""Measures the time and memory of the validation of a large log.

    python benchmarks/validation.py [--events 10000000] [--json FILE]

The program writes a TSV of --events events to a temporary folder: 10 million events have 300,000
users and 50,000 items, both with a long tail. Then it times the stages of `python -m
tfrec_attn.data.validate` in a new process. They are reading, the quality report and, if TensorFlow
Data Validation is installed, its import, statistics, schema and anomalies. Peak memory is that of
the process up to the end of a stage, in MB.
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


from _machine import add_json, write_json


def write_log(path: Path, events: int, seed: int = 2024) -> None:
    """Writes a log: user_id, item_id, timestamp and rating, in order of time."""
    import numpy as np
    import polars as pl

    random = np.random.default_rng(seed)
    columns = {
        "user_id": (max(1, events * 3 // 100) * random.random(events) ** 1.5).astype(np.int64),
        "item_id": (max(1, events // 200) * random.random(events) ** 3).astype(np.int64),
        "timestamp": np.sort(random.integers(1_500_000_000, 1_600_000_000, events)),
        "rating": random.integers(1, 6, events),
    }
    pl.DataFrame(columns).write_csv(path, separator="\t")


def measure(path: Path) -> list[dict[str, object]]:
    """Runs the stages on a log; returns name, wall and processor seconds and peak MB of each."""
    from tfrec_attn.data.quality import log_measures, log_profile, tfdv
    from tfrec_attn.data.quality.anomalies import find_anomalies
    from tfrec_attn.data.reading.interactions import read_interactions

    stages, start = [], (time.perf_counter(), time.process_time())

    def done(stage: str) -> None:
        nonlocal start
        now = time.perf_counter(), time.process_time()
        wall, busy = (round(b - a, 2) for a, b in zip(start, now, strict=True))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        stages.append(
            {"stage": stage, "seconds": wall, "processor_seconds": busy, "peak_mb": round(peak)}
        )
        start = time.perf_counter(), time.process_time()

    frame = read_interactions(path, columns={"rating": "rating"}).frame
    done("read")
    log = log_measures.EncodedLog(frame)
    log_measures.measure(log, time.time())
    done("quality report")
    log_profile.compare(
        log.profile(),
        log.profile(),
        dict(zip(log.item_ids.to_list(), log.item_counts.tolist(), strict=True)),
    )
    done("drift")
    if tfdv.is_installed():
        tfdv.compute_statistics(frame.head(1))
        done("import of TFDV")
        statistics = tfdv.compute_statistics(frame)
        done("statistics")
        schema = tfdv.infer_schema(statistics)
        done("schema")
        find_anomalies(frame, schema, previous=frame)
        done("anomalies")
    return stages


def run(events: int) -> dict[str, object]:
    """Writes the log, measures it in a new process, and returns the figures and the machine."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.tsv"
        # In another process, because a process starts with the peak memory of its parent.
        _child("--write", path, "--events", events)
        stages = json.loads(_child("--measure", path))
    total = {
        name: round(sum(stage[name] for stage in stages), 2)
        for name in ("seconds", "processor_seconds")
    }
    total["peak_mb"] = max(stage["peak_mb"] for stage in stages)
    return {
        "events": events,
        "stages": stages,
        "total": total,
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
    }


def _child(*args: object) -> str:
    return subprocess.run(
        [sys.executable, __file__, *map(str, args)], check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=10_000_000)
    add_json(parser)
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.write:
        write_log(args.write, args.events)
        return
    if args.measure:
        print(json.dumps(measure(args.measure)))
        return
    result = run(args.events)
    print(f"{result['events']:,} events, {result['cores']} cores")
    print(f"{'stage':<24}{'seconds':>10}{'processor':>12}{'peak MB':>10}")
    for stage in [*result["stages"], {"stage": "total", **result["total"]}]:
        print(
            f"{stage['stage']:<24}{stage['seconds']:>10.2f}{stage['processor_seconds']:>12.2f}"
            f"{stage['peak_mb']:>10,}"
        )
    if args.json:
        write_json(args.json, result)


if __name__ == "__main__":
    main()
