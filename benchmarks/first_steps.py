"""Measures the five commands of the README, from the installation to a running server.

    python benchmarks/first_steps.py [--events 200000] [--json FILE] [KEY=VALUE ...]

The commands install this package with the extra `serving` into a new environment, train on a CSV
file, export, serve, and request recommendations. The log is that of `python -m
tfrec_attn.data.example`. Further arguments are settings of the training. By default they are
`model.name=sasrec`, which trains for up to 100 epochs. The time of downloads depends on the network
and on the cache of pip; processor seconds do not include waiting. The first import after an
installation compiles the modules that pip has not compiled.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from _machine import Command, add_json, local_server, write_json

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ("setup.cfg", "pyproject.toml", "README.md", "LICENSE", "requirements")
PACKAGES = ("tfrec_attn", "export", "serving", "configs")
DATA = ["data.source=file", "data.path=clicks.csv"]
DATA += ["data.columns.user=visitor", "data.columns.item=page"]


def main(arguments: list[str] | None = None) -> int:
    """Prints the seconds of each command, and writes them as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="of the training")
    parser.add_argument("--events", type=int, default=200_000)
    add_json(parser)
    parsed = parser.parse_args(arguments)
    settings = parsed.settings or ["model.name=sasrec"]
    figures = {"events": parsed.events, "settings": settings, "load": os.getloadavg()[1]}
    with tempfile.TemporaryDirectory() as folder:
        commands = five_commands(Path(folder), parsed.events, settings)
    figures["all"] = {
        name: round(sum(one[name] for one in commands.values()), 1)
        for name in ("seconds", "processor_seconds")
    }
    print(f"{'':<8} seconds  of a processor")
    for name, one in (commands | {"all": figures["all"]}).items():
        print(f"{name:<8} {one['seconds']:>7.1f} {one['processor_seconds']:>15.1f}")
    if parsed.json:
        write_json(parsed.json, figures | {"commands": commands})
    return 0


def five_commands(folder: Path, events: int, settings: list[str]) -> dict[str, dict[str, float]]:
    """Runs the commands in an empty folder, and returns the figures of each."""
    example = ["-m", "tfrec_attn.data.example", str(folder / "clicks.csv"), "--events", str(events)]
    subprocess.run([sys.executable, *example], check=True, cwd=ROOT)
    # Copies the package, because pip builds in the folder that it installs.
    for name in PACKAGES:
        shutil.copytree(ROOT / name, folder / "source" / name, symlinks=True)
    for path in (ROOT / name for name in SOURCE):
        (shutil.copytree if path.is_dir() else shutil.copy)(path, folder / "source" / path.name)
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    python = str(folder / "venv" / "bin" / "python")
    found = {}

    def run(name, *arguments):
        code, found[name] = Command([python, "-m", *arguments], cwd=folder, env=own()).wait()
        print(name, found[name])
        if code:
            raise SystemExit(f"error: {name} ended with code {code}.")

    run("install", "pip", "install", "--quiet", "./source[serving]")
    run("train", "tfrec_attn.train", *DATA, "run_dir=runs/clicks", *settings)
    run("export", "tfrec_attn.export", "runs/clicks", "--to", "servables/clicks")
    which = ["--model", "clicks=servables/clicks"]
    with local_server(python, which, cwd=folder, env=own()) as (port, end):
        target = ["--model", "clicks", "--target", f"127.0.0.1:{port}"]
        run("ask", "tfrec_attn.serving.client", "recommend", *target, "--history", "i3,i17")
        found["serve"] = end()
    return found


def own() -> dict[str, str]:
    """Returns an environment without PYTHONPATH, so that a process uses only its own packages."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


if __name__ == "__main__":
    sys.exit(main())
