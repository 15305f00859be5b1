"""Measures an epoch of SASRec with sampled softmax on a large log, and the ranking of all users.

    python benchmarks/epoch.py [--rows 5000000] [--users 500000] [--items 100000] [--json FILE]

The program writes the log to a temporary folder. A new process reads and splits it, trains and
ranks, as `tfrec_attn.train` does, without baselines. The settings are D 64, L 50, 256 users a step,
512 shared negatives and LazyAdam. The validation item of each user is ranked against all items. The
figures are seconds, processor seconds, rates and peak memory.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from _machine import add_json, write_json
from data import write_log

SETTINGS = [
    "data.source=file",
    "data.max_length=50",
    "data.min_user_events=5",
    "model.name=sasrec",
    "model.dim=64",
    "train.loss=sampled_softmax",
    "train.negatives=512",
    "train.optimizer=lazy_adam",
    "train.ema=null",
    "train.learning_rate=0.001",
    "train.batch_size=256",
]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--users", type=int, default=500_000)
    parser.add_argument("--items", type=int, default=100_000)
    add_json(parser)
    parser.add_argument(
        "--measure",
        metavar="LOG",
        help="measure on this log, in this process, and print one line of JSON",
    )
    parsed = parser.parse_args()
    if parsed.measure:
        print(json.dumps(measure(parsed.measure)))
        return
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log.tsv"
        write_log(log, parsed.rows, parsed.users, parsed.items)
        done = subprocess.run(
            [sys.executable, __file__, "--measure", str(log)],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
    figures = json.loads(done.stdout.splitlines()[-1])
    for name, value in figures.items():
        print(
            f"{name:<28} {value:>14,.1f}"
            if isinstance(value, float)
            else f"{name:<28} {value:>14,}"
        )
    if parsed.json:
        write_json(parsed.json, figures)


def measure(log: str, overrides: tuple[str, ...] = (), rankings: int = 1) -> dict:
    """Trains and ranks on a log.

    Args:
        log: Path of the log.
        overrides: Further settings.
        rankings: Number of rankings, of which the last is timed (default: 1). The first one
            includes tracing.

    Returns:
        Sizes, seconds, processor seconds (`..._cpu`), rates, and peak memory by name.
    """
    from tfrec_attn import config as configuration
    from tfrec_attn import models
    from tfrec_attn.runs import run
    from tfrec_attn.runtime.process import import_tensorflow, peak_memory_mb, seed_everything

    config = configuration.load(None, [f"data.path={log}", *SETTINGS, *overrides])
    config = configuration.with_model_parameters(config, models.parameters(config.model.name))
    start, cpu = time.perf_counter(), time.process_time()
    data = run.prepare_data(config)
    reading, reading_cpu = time.perf_counter() - start, time.process_time() - cpu
    import_tensorflow()
    from tfrec_attn.training.evaluating import rank
    from tfrec_attn.training.fitting import compile_model
    from tfrec_attn.training.inputs import training_stream

    seed_everything(config.train.seed)
    model = run.build_model(config, data.sequences.user_vocabulary, data.sequences.item_vocabulary)
    stream = training_stream(config, data.split)
    compile_model(model, config, data.split, stream)
    model.fit(
        stream.dataset(), epochs=1, steps_per_epoch=config.runtime.steps_per_execution, verbose=0
    )
    start, cpu = time.perf_counter(), time.process_time()
    model.fit(stream.dataset(), epochs=1, steps_per_epoch=stream.steps_per_epoch, verbose=0)
    training, training_cpu = time.perf_counter() - start, time.process_time() - cpu
    for _ in range(rankings):
        start, cpu = time.perf_counter(), time.process_time()
        ranks = rank(model.traced_ranks(), config, data.split, "valid")
    ranking, ranking_cpu = time.perf_counter() - start, time.process_time() - cpu
    events = int(data.split.train_mask().sum())
    return {
        "events": len(data.sequences.items),
        "users": data.sequences.num_users,
        "items": data.sequences.num_items,
        "reading_seconds": reading,
        "reading_cpu": reading_cpu,
        "training_events": events,
        "steps": stream.steps_per_epoch,
        "epoch_seconds": training,
        "epoch_cpu": training_cpu,
        "training_events_per_second": events / training,
        "ranked_users": len(ranks),
        "ranking_seconds": ranking,
        "ranking_cpu": ranking_cpu,
        "ranked_users_per_second": len(ranks) / ranking,
        "peak_memory_mb": peak_memory_mb(),
    }


if __name__ == "__main__":
    main()
