"""Measures the seconds from the start of the training command to its end, on a small log.

    python benchmarks/start_up.py [--json FILE]

Each measurement is a new process. The reference is the import of TensorFlow alone, in the same run.
The last rows are commands that end before they need TensorFlow.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time

from _machine import add_json, write_json

_SMALL = ["data.events=4000", "train.epochs=1", "model.dim=16", "evaluate.bootstrap=100"]
_IMPORT = "import os; os.environ['TF_CPP_MIN_LOG_LEVEL'] = '3'; import tensorflow as tf; tf.keras"
MODELS = ("pop", "attrec", "sasrec", "mqsa_ted")
_CLIENT = ["recommend", "--history", "a", "--model", "m", "--target", "127.0.0.1:1"]
OTHERS = {
    "train --help": ["-m", "tfrec_attn.train", "--help"],
    "client, no server": ["-m", "tfrec_attn.serving.client", *_CLIENT, "--retries", "0"],
}


def main(arguments: list[str] | None = None) -> int:
    """Prints the seconds, and writes them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add_json(parser)
    parser.add_argument("--repeats", type=int, default=3)
    parsed = parser.parse_args(arguments)
    figures = {"import of TensorFlow": best(["-c", _IMPORT], parsed.repeats)}
    for name in MODELS:
        with tempfile.TemporaryDirectory() as folder:
            settings = [*_SMALL[:1]] if name == "pop" else _SMALL
            command = ["-m", "tfrec_attn.train", f"model.name={name}", *settings, "--restart"]
            figures[name] = best([*command, f"run_dir={folder}/run"], parsed.repeats)
    for name, command in OTHERS.items():
        figures[name] = best(command, parsed.repeats, fails="client" in name)
    for name, one in figures.items():
        print(f"{name:<22} {one['wall']:5.1f} s, {one['cpu']:5.1f} s of processor time")
    if parsed.json:
        write_json(parsed.json, figures)
    return 0


def best(arguments: list[str], repeats: int, fails: bool = False) -> dict[str, float]:
    """Returns the wall and processor seconds of the fastest of several processes.

    Args:
        arguments: Arguments of Python.
        repeats: Number of processes.
        fails: Whether the processes may end with an exit code other than 0 (default: False).
    """
    found = []
    for _ in range(repeats):
        before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(
            [sys.executable, *arguments],
            check=not fails,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "TF_USE_LEGACY_KERAS": "1"},
        )
        after, end = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        found.append({"wall": end - begin, "cpu": cpu})
    return min(found, key=lambda one: one["cpu"])


if __name__ == "__main__":
    sys.exit(main())
