"""Checks Parquet files in a separate process.

A damaged file can make polars abort, or allocate more memory than the machine has.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tfrec_attn.errors import DataError

_SECONDS, _BYTES_PER_SECOND = 60, 1_000_000

# The child needs only polars. It prints a line for each file: null, or the problem. It limits its
# memory to that of the machine. If memory is short, the kernel kills the child first.
_CHILD = """
import json, os, resource, sys
sys.path[:], paths, columns, rows = json.load(sys.stdin)
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
soft = memory if hard == resource.RLIM_INFINITY else min(memory, hard)
resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
try:
    with open("/proc/self/oom_score_adj", "w") as score:
        score.write("1000")
except OSError:
    pass
import polars as pl

def check(path):
    table = pl.scan_parquet(path, glob=False)
    names = table.collect_schema().names()
    table = table.select(name for name in (names if columns is None else columns) if name in names)
    begin = 0
    while table.slice(begin, rows).collect().height == rows:
        begin += rows

for path in paths:
    problem = None
    try:
        check(path)
    except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        problem = (str(error).splitlines() or [type(error).__name__])[0]
    print(json.dumps(problem), flush=True)
"""


def require_sound(
    paths: Sequence[Path], columns: Sequence[str] | None = None, rows: int | None = None
) -> None:
    """Checks that polars can read Parquet files.

    Args:
        paths: The files.
        columns: Columns to read, if they exist. None (default): all columns.
        rows: Number of rows to read at a time. None (default): all rows at once.

    Raises:
        DataError: If a file is damaged.
    """
    seconds = _SECONDS + sum(path.stat().st_size for path in paths) / _BYTES_PER_SECOND
    order = json.dumps([sys.path, [str(path) for path in paths], columns, rows])
    # Import no modules from the working directory or the environment.
    command = [sys.executable, "-I", "-S", "-c", _CHILD]
    try:
        output = subprocess.run(
            command, input=order, capture_output=True, text=True, timeout=seconds, check=False
        ).stdout
    except subprocess.TimeoutExpired as error:
        output = (error.stdout or b"").decode()
    found = [json.loads(line) for line in output.splitlines()]
    for path, problem in zip(paths, [*found, "the process that reads it breaks off"], strict=False):
        if problem is not None:
            raise DataError(f"{path} cannot be read as Parquet ({problem}): write it again.")
