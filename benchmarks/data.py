"""Measures time and memory of reading, preparing and splitting a large log, and of shards.

    python benchmarks/data.py [--rows 10000000] [--prepared-rows 50000000] [--json FILE]

The program writes a TSV of `--rows` rows to a temporary folder: 10 million rows have 300,000 users
and 50,000 items, both with a long tail. It times each stage in a new process. Then it writes
`--prepared-rows` rows in four TSVs: 50 million rows have 1,000,000 users and 200,000 items. It
prepares them with `tfrec_attn.data.prepare`. Training steps of AttRec take batches from memory and
from the shards in turn. At the end, the program reads all sequences of an epoch from the shards.
Peak memory is that of the resident set of the process, in MB. Processor seconds are the sum over
all cores.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from _machine import add_json, write_json

_STEPS = 200
_TURNS = 5


def write_log(
    path: Path, rows: int, users: int, items: int, seed: int = 2024, part: int = 0, parts: int = 1
) -> None:
    """Writes a part of a log: user_id, item_id, rating and timestamp, in order of time."""
    import numpy as np
    import polars as pl

    random = np.random.default_rng(seed + part)
    begin, seconds = 1_500_000_000, 100_000_000 // parts
    columns = {
        "user_id": (max(1, users) * random.random(rows) ** 1.5).astype(np.int64),
        "item_id": (max(1, items) * random.random(rows) ** 3).astype(np.int64),
        "rating": random.integers(1, 6, rows),
        "timestamp": np.sort(
            random.integers(begin + part * seconds, begin + (part + 1) * seconds, rows)
        ),
    }
    pl.DataFrame(columns).write_csv(path, separator="\t")


def measure(path: Path) -> list[dict[str, object]]:
    """Runs the stages on a log; returns name, seconds, events a second and peak MB of each."""
    stages, start = [], time.perf_counter()

    def done(stage: str, events: int) -> None:
        nonlocal start
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        stages.append(
            {
                "stage": stage,
                "seconds": round(seconds, 3),
                "events_per_second": round(events / seconds),
                "peak_mb": round(peak),
            }
        )
        start = time.perf_counter()

    from tfrec_attn.data.reading.interactions import read_interactions
    from tfrec_attn.data.sequences.encoding import encode_log
    from tfrec_attn.data.sequences.leakage import leak_report
    from tfrec_attn.data.sequences.splits import leave_one_out

    done("import", 0)
    frame = read_interactions(path).frame
    rows = frame.height
    done("read", rows)
    sequences, _ = encode_log(frame, min_user_events=5, min_item_events=5)
    done("prepare (5-core)", rows)
    split = leave_one_out(sequences)
    done("split", len(sequences.items))
    leak_report(split)
    done("leak report", len(sequences.items))
    return stages


def run(rows: int) -> dict[str, object]:
    """Writes the log, measures it in a new process, and returns the figures and the machine."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.tsv"
        # In another process, because a process starts with the peak memory of its parent.
        _child("write", path, rows, rows * 3 // 100, rows // 200)
        size = path.stat().st_size
        stages = json.loads(_child("measure", path))
    total = {
        "seconds": round(sum(stage["seconds"] for stage in stages), 3),
        "peak_mb": max(stage["peak_mb"] for stage in stages),
    }
    machine = {"cores": len(os.sched_getaffinity(0)), "python": platform.python_version()}
    return {"rows": rows, "file_mb": round(size / 1e6), "stages": stages, "total": total, **machine}


def run_prepared(rows: int, folder: Path) -> dict[str, object]:
    """Prepares a log of `rows` rows, trains from shards and from memory, and reads an epoch."""
    for part in range(4):
        _child("write", folder / f"log-{part}.tsv", rows // 4, rows // 50, rows // 250, part, 4)
    preparation = json.loads(_child("prepare", folder))
    return {
        "rows": rows,
        "users": rows // 50,
        "items": rows // 250,
        "preparation": preparation,
        "training": json.loads(_child("training", folder / "prepared")),
        "epoch": json.loads(_child("epoch", folder / "prepared")),
    }


def measure_preparation(folder: Path) -> dict[str, object]:
    """Prepares the logs of a folder, and returns the figures."""
    from tfrec_attn.config import Data
    from tfrec_attn.data.shards.prepare_locally import prepare_log

    start = time.perf_counter()
    manifest = prepare_log(
        [str(path) for path in sorted(folder.glob("log-*.tsv"))], folder / "prepared", Data()
    )
    figures = {
        "seconds": round(time.perf_counter() - start, 1),
        "processor_seconds": round(_processor(), 1),
        "peak_mb": _peak(),
    }
    return {
        **figures,
        "events": manifest.after["events"],
        "shards": len(manifest.shards),
        "folder_mb": round(sum(manifest.sizes.values()) / 1e6),
    }


def measure_training(folder: Path) -> dict[str, object]:
    """Returns AttRec's training rates from memory and from shards, in windows a second."""
    import tensorflow as tf

    from tfrec_attn import config as configuration
    from tfrec_attn import models
    from tfrec_attn.data.shards.prepared_log import PreparedLog
    from tfrec_attn.data.shards.sharded_split import ShardedSplit
    from tfrec_attn.runs import run
    from tfrec_attn.training.fitting import compile_model
    from tfrec_attn.training.inputs import training_stream

    config = configuration.load(None, [f"data.source={folder}", "runtime.steps_per_execution=1"])
    config = configuration.with_model_parameters(config, models.parameters(config.model.name))
    log = PreparedLog(folder)
    splits = {"memory": log.load(), "shards": ShardedSplit.open(log)}
    streams = {name: training_stream(config, split) for name, split in splits.items()}
    model = run.build_model(config, *log.vocabularies())
    compile_model(model, config, splits["memory"], streams["memory"])
    step = tf.function(lambda batch: model.train_step(batch))
    batches = {name: iter(stream.dataset()) for name, stream in streams.items()}
    seconds = {name: [] for name in streams}
    for _ in range(_TURNS + 1):  # The first turn fills the buffers.
        for name, found in batches.items():
            start = time.perf_counter()
            for _ in range(_STEPS):
                step(next(found))
            seconds[name].append(time.perf_counter() - start)
    rates = {
        name: round(_STEPS * config.train.batch_size / statistics.median(turns[1:]))
        for name, turns in seconds.items()
    }
    ratio = statistics.median(
        one / other for one, other in zip(seconds["memory"][1:], seconds["shards"][1:], strict=True)
    )
    return {"windows_per_second": rates, "ratio": round(ratio, 3)}


def measure_epoch(folder: Path) -> dict[str, object]:
    """Reads an epoch from the shards; measures the resident memory after each tenth of it."""
    from tfrec_attn.data.batches.streamed_training import StreamedNextItems
    from tfrec_attn.data.shards.prepared_log import PreparedLog
    from tfrec_attn.data.shards.sharded_split import ShardedSplit

    stream = StreamedNextItems(
        ShardedSplit.open(PreparedLog(folder)), max_length=50, batch_size=256
    )
    start, resident = time.perf_counter(), []
    for step, _ in enumerate(stream.dataset().take(stream.steps_per_epoch), start=1):
        if step * 10 // stream.steps_per_epoch > len(resident):
            resident.append(_resident())
    return {
        "users": len(stream),
        "seconds": round(time.perf_counter() - start, 1),
        "processor_seconds": round(_processor(), 1),
        "resident_mb": resident,
    }


def _processor() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _peak() -> int:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def _resident() -> int:
    return round(
        int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    )


def _child(*args: object) -> str:
    command = [sys.executable, __file__, "--child", *map(str, args)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def _in_child(stage: str, path: str, *numbers: str) -> None:
    if stage == "write":
        rows, users, items, *part = map(int, numbers)
        write_log(Path(path), rows, users, items, 2024, *part)
        return
    stages = {
        "measure": measure,
        "prepare": measure_preparation,
        "training": measure_training,
        "epoch": measure_epoch,
    }
    print(json.dumps(stages[stage](Path(path))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--prepared-rows", type=int, default=50_000_000)
    add_json(parser)
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        _in_child(*args.child)
        return
    result = run(args.rows)
    print(f"{result['rows']:,} rows, {result['file_mb']} MB, {result['cores']} cores")
    print(f"{'stage':<20}{'seconds':>10}{'events/s':>18}{'peak MB':>10}")
    for stage in result["stages"]:
        print(
            f"{stage['stage']:<20}{stage['seconds']:>10.2f}{stage['events_per_second']:>18,}"
            f"{stage['peak_mb']:>10,}"
        )
    print(
        f"{'total':<20}{result['total']['seconds']:>10.2f}{'':>18}{result['total']['peak_mb']:>10,}"
    )
    with tempfile.TemporaryDirectory() as folder:
        result["prepared"] = run_prepared(args.prepared_rows, Path(folder))
    preparation, training, epoch = (
        result["prepared"][name] for name in ("preparation", "training", "epoch")
    )
    print(
        f"{args.prepared_rows:,} rows prepared in {preparation['seconds']} s "
        f"({preparation['processor_seconds']} s of processor time), "
        f"{preparation['peak_mb']:,} MB at most"
    )
    rate = training["windows_per_second"]["shards"]
    print(
        f"training from the shards at {training['ratio']} of the rate from memory "
        f"({rate:,} windows/s)"
    )
    print(f"one epoch of {epoch['users']:,} sequences from the shards: {epoch['seconds']} s")
    print(f"resident MB after each tenth of it: {epoch['resident_mb']}")
    if args.json:
        write_json(args.json, result)


if __name__ == "__main__":
    main()
