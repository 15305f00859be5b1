"""Tests of the wheel: its files, and its commands in a folder with files that are named as ours."""

import configparser
import os
import re
import shutil
import site
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BUILT = shutil.ignore_patterns(".*", "__pycache__", "build", "dist", "*.egg-info")
SMALL = ["data.source=synthetic", "data.events=1500", "train.epochs=1", "model.dim=8"]
SMALL += ["evaluate.bootstrap=10", "run_dir=runs/small"]

SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg", encoding="utf-8")
SCRIPTS = dict(re.findall(r"(\S+) = (\S+):main", SETUP["options.entry_points"]["console_scripts"]))

# Imports all modules of both packages, and prints their files.
IMPORT_ALL = """
import importlib, pkgutil, sys
import tfrec_attn.export, tfrec_attn.serving

for package in (tfrec_attn.export, tfrec_attn.serving):
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        importlib.import_module(module.name)
assert not {"export", "serving"} & sys.modules.keys()
ours = [name for name in sys.modules if name.partition(".")[0] == "tfrec_attn"]
files = {sys.modules[name].__file__ for name in ours}
sys.stdout.write("\\n".join(sorted(files)))
"""


def no_source(folder, names):
    """Returns what is not copied: what was built, and what the commands wrote."""
    return BUILT(folder, names) | (
        {"runs", "searches", "servables"} if Path(folder) == ROOT else set()
    )


def run(*words, cwd, code=0, **environment):
    """Runs a process that must end with a code -> (stdout, stderr)."""
    unset = ("PYTHONPATH", "TF_USE_LEGACY_KERAS")
    kept = {name: value for name, value in os.environ.items() if name not in unset}
    environment = {**kept, "TF_CPP_MIN_LOG_LEVEL": "3", **environment}
    words = [str(word) for word in words]
    done = subprocess.run(
        words, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == code, f"{words}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout, done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel, built from a copy, because a build writes next to the source."""
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT, folder / "source", symlinks=True, ignore=no_source)
    pip = [sys.executable, "-m", "pip", "wheel", "--disable-pip-version-check"]
    run(
        *pip,
        "--no-build-isolation",
        "--no-deps",
        "--wheel-dir",
        folder,
        folder / "source",
        cwd=folder,
    )
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def programs(wheel, tmp_path_factory):
    """The folder with the programs of an environment that has the wheel.

    Requirements come from the environment of the tests, through a path file. It does not load
    packages that are installed there as links to their source.
    """
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check"]
    run(*pip, "install", "--no-deps", "--no-index", wheel, cwd=folder)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "tests.pth").write_text("".join(f"{path}\n" for path in site.getsitepackages()))
    return folder / "bin"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of a user, where any file that is loaded instead of ours ends the process."""
    folder = tmp_path_factory.mktemp("user")
    for name in (
        "export.py",
        "serving/__init__.py",
        "verify.py",
        "command.py",
        "configs/__init__.py",
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("raise SystemExit('a file of the user is run')\n")
    (folder / "tfrec_attn_configs" / "ml-100k").mkdir(parents=True)
    (folder / "configs" / "ml-100k").mkdir()
    (folder / "ml-100k" / "attrec").mkdir(parents=True)
    for name in ("tfrec_attn_configs/ml-100k/attrec.yaml", "configs/ml-100k/attrec.yaml"):
        (folder / name).write_text("no: configuration\n")
    return folder


def files_of(name):
    paths = [path for path in (ROOT / name).rglob("*") if path.is_file()]
    return {path.relative_to(ROOT).as_posix() for path in paths if "__pycache__" not in path.parts}


def test_files_of_the_wheel(wheel):
    held = [name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name]
    both = files_of("export") | files_of("serving")
    inside = {f"tfrec_attn/{name}" for name in both | files_of("configs")}
    assert sorted(held) == sorted(files_of("tfrec_attn") | both | inside)
    expected = [
        "configs/ml-100k/attrec.yaml",
        "export/verify.py",
        "serving/server/page/index.html",
        "serving/server/page/page.js",
        "serving/server/openapi.json",
    ]
    assert {f"tfrec_attn/{name}" for name in expected} <= set(held)


def test_the_wheel_is_run(programs, folder):
    out, _ = run(programs / "python", "-c", IMPORT_ALL, cwd=folder)
    files = out.split()
    assert len(files) > len(files_of("serving")) and all(
        file.startswith(str(programs.parent)) for file in files
    )


def test_the_source_tree_has_the_same_names(folder):
    out, _ = run(sys.executable, "-c", IMPORT_ALL, cwd=folder, PYTHONPATH=str(ROOT))
    assert all(file.startswith(str(ROOT)) for file in out.split())


def test_from_a_log_to_a_proven_servable(programs, folder):
    python = programs / "python"
    out, _ = run(python, "-m", "tfrec_attn.train", "ml-100k/attrec", *SMALL, cwd=folder)
    assert "Next: python -m tfrec_attn.report runs/small\n" in out
    assert "MRR" in run(programs / "tfrec-evaluate", "runs/small", cwd=folder)[0]
    out, _ = run(programs / "tfrec-export", "runs/small", "--to", "servables/small", cwd=folder)
    assert "Wrote servables/small/1" in out
    verify = [python, "-m", "tfrec_attn.export.verify", "servables/small", "--run", "runs/small"]
    assert "MRR" in run(*verify, cwd=folder)[0]


def test_missing_configuration(programs, folder):
    _, error = run(programs / "tfrec-train", "ml-100k/atrec", cwd=folder, code=2)
    assert error.startswith("error: Configuration file ml-100k/atrec does not exist; ")
    assert "ml-100k/attrec" in error and error.count("\n") == 1


def test_the_list_of_commands(programs, folder):
    out, _ = run(programs / "python", "-m", "tfrec_attn", cwd=folder)
    lines = {line.split()[0]: line for line in out.splitlines()[2:]}
    written = {
        path.relative_to(ROOT)
        .with_suffix("")
        .as_posix()
        .replace("/", ".")
        .removesuffix(".__main__")
        for package in ("tfrec_attn", "export", "serving")
        for path in (ROOT / package).rglob("*.py")
        if '\nif __name__ == "__main__":\n' in path.read_text(encoding="utf-8")
    }
    inside = {name if name.startswith("tfrec_attn") else f"tfrec_attn.{name}" for name in written}
    assert lines.keys() == inside
    for script, module in SCRIPTS.items():
        assert f" {script} " in lines[module.removesuffix(".__main__")]
    assert lines["tfrec_attn.train"].endswith("  Trains a model on a log")
    assert out == run(programs / "tfrec-attn", cwd=folder)[0]


def test_the_list_does_not_load_tensorflow(programs, folder):
    _, times = run(programs / "python", "-X", "importtime", "-m", "tfrec_attn", cwd=folder)
    assert "tfrec_attn.cli.arguments" in times and not re.search(
        r"\| +(tensorflow|keras|tf_keras)\n", times
    )


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_console_command_is_its_module(script, programs, folder):
    name = SCRIPTS[script].removesuffix(".__main__")
    out, error = run(programs / script, "--help", cwd=folder)
    assert f"usage: python -m {name} " in out
    assert error == ""


def test_a_wrong_option_of_a_console_command(programs, folder):
    asked = ("--no-such",)
    _, error = run(programs / "tfrec-train", *asked, cwd=folder, code=2)
    assert error.startswith("usage: python -m tfrec_attn.train ")
    module = [programs / "python", "-m", "tfrec_attn.train"]
    assert error == run(*module, *asked, cwd=folder, code=2)[1]
