"""Measures each gate of the daily cycle, `examples/daily.sh`.

    python benchmarks/daily_cycle.py [--events 2000000] [--epochs 3] [--json FILE] [KEY=VALUE ...]

The log is that of `python -m tfrec_attn.data.example`. The first cycle trains on the log without
its latest 2 %, and exports version 1. Then the local server serves this version. The second cycle
has the whole log. It compares both logs, trains with a warm start, exports version 2, verifies it,
and replays 1000 requests on both versions before version 2 goes into service. Both cycles train for
--epochs epochs. Further arguments are settings of the training. The limits of the promotion are
those of `serving/deploy`, with latencies that a busy machine can meet.

The figures of a gate are those of its command. Other work on the machine increases its seconds, but
hardly its processor seconds. `server` is the server during the second cycle. `script` is the rest
of the cycle, such as the checksums of the log.
"""

import argparse
import json
import os
import re
import sys
import tempfile
from pathlib import Path

from _machine import Command, add_json, local_server, write_json

ROOT = Path(__file__).resolve().parent.parent
NAME = "shop"
# Program that the cycle runs instead of python: it appends the figures of the command to a file.
PROGRAM = """#!{python}
import json, sys
sys.path.insert(0, {folder!r})
from _machine import Command
code, figures = Command([{python!r}, *sys.argv[1:]]).wait()
with open({times!r}, "a") as lines:
    lines.write(json.dumps([sys.argv[2].removeprefix("tfrec_attn."), figures]) + "\\n")
sys.exit(code)
"""


def main(arguments: list[str] | None = None) -> int:
    """Prints the figures of each gate, and writes them as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="of the training")
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--epochs", type=int, default=3)
    add_json(parser)
    parsed = parser.parse_args(arguments)
    settings = ["model.name=sasrec", f"train.epochs={parsed.epochs}", *parsed.settings]
    figures = {"events": parsed.events, "settings": settings, "load": os.getloadavg()[1]}
    with tempfile.TemporaryDirectory() as folder:
        figures |= two_days(Path(folder), parsed.events, settings)
    print(f"{'':<22} seconds  of a processor  peak MB")
    for day in ("first", "second"):
        for name, one in figures[day].items():
            print(
                f"{day} {name:<15} {one['seconds']:>7.1f} {one['processor_seconds']:>15.1f}"
                f" {one['peak_mb']:>8.0f}"
            )
    if parsed.json:
        write_json(parsed.json, figures)
    return 0


def two_days(folder: Path, events: int, settings: list[str]) -> dict:
    """Returns the figures of the first and the second cycle."""
    sys.path.insert(0, str(ROOT))
    from tfrec_attn.data.reading.synthetic import synthetic

    log = synthetic(events)
    log.head(len(log) * 98 // 100).write_csv(folder / "1.csv")
    log.write_csv(folder / "2.csv")
    limits = (ROOT / "serving" / "deploy" / "limits.yaml").read_text(encoding="utf-8")
    (folder / "limits.yaml").write_text(re.sub(r"(_ms|_ratio): ", r"\1: 100", limits))
    first = cycle(folder, 1, settings)
    labels = [f"--labels={NAME}:{label}=1" for label in ("stable", "canary", "previous")]
    which = [f"--model={NAME}=servables/{NAME}", f"--versions={NAME}=1", *labels]
    with local_server(sys.executable, which, cwd=folder, env=environment()) as (port, end):
        second = cycle(folder, 2, settings, TARGET=f"127.0.0.1:{port}")
        return {"first": first, "second": {**second, "server": end()}}


def cycle(folder: Path, day: int, settings: list[str], **more: str) -> dict:
    """Runs the cycle on the log of a day, and returns the figures of its gates and of the whole."""
    times, program = folder / f"{day}.jsonl", folder / "program"
    program.write_text(
        PROGRAM.format(python=sys.executable, folder=str(ROOT / "benchmarks"), times=str(times))
    )
    program.chmod(0o755)
    known = {"NAME": NAME, "DAY": f"day-{day}", "LIMITS": "limits.yaml", "PYTHON": str(program)}
    code, total = Command(
        ["bash", str(ROOT / "examples" / "daily.sh"), f"{day}.csv", *settings],
        cwd=folder,
        env=environment(**known, **more),
    ).wait()
    if code:
        raise SystemExit(f"error: the cycle of day {day} ended with code {code}.")
    gates = dict(json.loads(line) for line in times.read_text().splitlines())
    script = {
        name: total[name] - sum(one[name] for one in gates.values())
        for name in ("seconds", "processor_seconds")
    }
    return {**gates, "script": {**script, "peak_mb": 0.0}, "all": total}


def environment(**settings: str) -> dict[str, str]:
    """Returns the environment of a process that finds this package from any folder."""
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {**os.environ, **settings, "PYTHONPATH": paths}


if __name__ == "__main__":
    sys.exit(main())
