"""Helpers of the benchmarks: timing, the speed of the machine, and files of figures."""

import argparse
import contextlib
import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path


def seconds_of(function: Callable[[], object]) -> float:
    """Returns the seconds that a call takes."""
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


class Command:
    """A running command.

    Args:
        command: The program and its arguments.
        **options: Arguments of `subprocess.Popen`.
    """

    def __init__(self, command: list[str], **options):
        self._begin = time.perf_counter()
        self.process = subprocess.Popen(command, **options)

    def wait(self) -> tuple[int, dict[str, float]]:
        """Waits for the end of the command.

        Returns:
            (exit code, {"seconds", "processor_seconds", "peak_mb"}).
        """
        _, status, usage = os.wait4(self.process.pid, 0)
        seconds = time.perf_counter() - self._begin
        self.process.returncode = os.waitstatus_to_exitcode(status)
        return self.process.returncode, {
            "seconds": round(seconds, 2),
            "processor_seconds": round(usage.ru_utime + usage.ru_stime, 2),
            "peak_mb": usage.ru_maxrss // 1024,
        }


@contextlib.contextmanager
def local_server(
    python: str, arguments: list[str], **options
) -> Iterator[tuple[int, Callable[[], dict[str, float]]]]:
    """Runs the local server on free ports.

    Args:
        python: Path of the Python interpreter.
        arguments: Options of the server.
        **options: Arguments of `subprocess.Popen`.

    Yields:
        (gRPC port, function that stops the server and returns the figures of `Command.wait`).
    """
    ports = ["--port", "0", "--rest-port", "0"]
    command = Command(
        [python, "-m", "tfrec_attn.serving.local_server", *ports, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        **options,
    )

    def end():
        command.process.terminate()
        return command.wait()[1]

    try:
        for line in command.process.stdout:
            if found := re.search(r"gRPC on .*:(\d+)", line):
                break
        else:
            raise SystemExit("error: the server has not started.")
        yield int(found[1]), end
    finally:
        command.process.kill()


def gemm_gflops(tf, size: int = 2048, repeats: int = 20) -> float:
    """Returns the best rate of float32 matrix products [size, size] x [size, size], in GFLOP/s."""
    a = tf.random.normal([size, size])
    product = tf.function(lambda a: tf.matmul(a, a))
    product(a)
    return 2 * size**3 / min(seconds_of(lambda: product(a).numpy()) for _ in range(repeats)) / 1e9


def add_json(parser: argparse.ArgumentParser) -> None:
    """Adds `--json FILE` for `write_json`, which checks early that the folder of FILE exists."""

    def file(text: str) -> Path:
        path = Path(text)
        if path.is_dir() or not path.absolute().parent.is_dir():
            raise argparse.ArgumentTypeError(
                f"must be a file in a folder that exists, but is {text}; name another file."
            )
        return path

    parser.add_argument(
        "--json", type=file, metavar="FILE", help="write the figures to this file too"
    )


def write_json(path: str | Path, figures: dict | list) -> None:
    """Writes figures to a new file, or over earlier figures of the same benchmark."""
    path = Path(path)
    if path.is_file() and path.stat().st_size and not _is_like(path, figures):
        raise SystemExit(
            f"error: --json {path} exists and holds no figures of this benchmark; "
            "name a new file, or remove it."
        )
    path.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def check_plot(path: str | Path) -> None:
    """Ends the program with an error if the file exists and is not a plot."""
    path = Path(path)
    if path.is_file() and path.stat().st_size and b"atplotlib" not in path.read_bytes()[: 1 << 12]:
        raise SystemExit(
            f"error: --plot {path} exists and is not a plot; name a new file, or remove it."
        )


def _is_like(path: Path, figures: dict | list) -> bool:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return False
    if type(found) is not type(figures):
        return False
    there, here = (
        {*one[0]} if isinstance(one, list) and one else {*one} for one in (found, figures)
    )
    return there <= here or here <= there
