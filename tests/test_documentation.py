"""Runs every command and program of README.md and docs/ on small data, and the notebook.

Commands that need a cluster or change the environment are only checked.
tests/test_adding_a_model.py runs docs/adding-a-model.md.
"""

import contextlib
import gzip
import importlib
import importlib.util
import io
import itertools
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tfrec_attn import models
from tfrec_attn.__main__ import commands
from tfrec_attn.data.reading.synthetic import synthetic

ROOT = Path(__file__).parent.parent
NOTEBOOK = ROOT / "docs" / "layers-and-models.ipynb"
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
}
# A file to write, or a block of code.
BLOCK = re.compile(r"^(?:Write `([\w.]+)`:\n\n)?```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
TARGETS = re.findall(
    r"^([a-z][\w.-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE
)
SERVER = "tfrec_attn.serving.local_server"
CLIENTS = ("tfrec_attn.serving.client", "tfrec_attn.serving.load_test", "tfrec_attn.serving.shadow")
# Its examples run on clusters.
NOT_RUN = ("tfrec_attn.data.pipeline",)
PRINTED = {
    "tfrec_attn.evaluate": "MRR",
    "tfrec_attn.export": "servables/",
    "tfrec_attn.serving.verify": "HR@10",
}
SMALL = [
    "train.epochs=1",
    "model.dim=8",
    "evaluate.bootstrap=10",
    "train.warmup_steps=1",
    "train.negatives=5",
    "runtime.steps_per_execution=1",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the logs that the pages name, in which README.md was run."""
    folder = tmp_path_factory.mktemp("pages")
    log = synthetic(2000)
    log.rename({"user_id": "visitor", "item_id": "page"}).write_csv(folder / "clicks.csv")
    for name in ("beauty", "events", "tuesday"):
        (folder / f"{name}.tsv.gz").write_bytes(
            gzip.compress(log.write_csv(separator="\t").encode())
        )
    (folder / "requests.jsonl").write_text(
        '{"user_id": "u1", "history": ["i1", "i2"]}\n{"history": ["unknown"]}\n'
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run_page(PAGES["README.md"])
    return folder


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, page in PAGES.items()
        if name not in ("README.md", "docs/adding-a-model.md") and BLOCK.search(page)
    ],
)
def test_page(name, folder, monkeypatch):
    monkeypatch.chdir(folder)
    run_page(PAGES[name])


def run_page(page):
    """Runs the blocks of a page in order; a server that it starts stays until its end."""
    ports, namespace = {}, {}
    with contextlib.ExitStack() as stack:
        for file, language, text in BLOCK.findall(page):
            text = re.sub("850[01]", lambda port: ports.get(port[0], port[0]), text)
            if file:
                Path(file).write_text(text)
            elif language == "sh":
                for line in text.replace("\\\n", " ").splitlines():
                    words = shlex.split(line)
                    if SERVER in words:
                        ports = stack.enter_context(server(words))
                    else:
                        run_command(words, ports)
            elif language == "python":
                exec(compile(text, "documentation", "exec"), namespace)
            elif language == "json":
                json.loads(text)


@contextlib.contextmanager
def server(words):
    """Starts the server of a command on free ports; yields port in the page -> port."""
    process = subprocess.Popen(
        [sys.executable, *words[1:], "--port", "0", "--rest-port", "0"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            started = "".join(itertools.islice(process.stdout, 3))
            yield dict(zip(("8500", "8501"), re.findall(r":(\d+)", started), strict=False))
        finally:
            process.terminate()
    assert process.returncode == 0


def run_command(words, ports):
    if words[:2] == ["make", "train"]:
        arguments = shlex.split(words[2].removeprefix("ARGS=")) if len(words) > 2 else []
        words = ["python", "-m", "tfrec_attn.train", *arguments]
    if words[0] == "make":
        assert words[1] in TARGETS, words
    elif words != ["source", ".venv/bin/activate"]:
        assert words[:2] == ["python", "-m"] and words[2] in commands(), words
        if words[2] not in NOT_RUN:
            run_module(words[2], words[3:], ports)


def run_module(module, arguments, ports):
    if module in ("tfrec_attn.train", "tfrec_attn.search") and "--help" not in arguments:
        if "ml-100k" in "".join(arguments[:1]):
            arguments = [*arguments, "data.source=synthetic", "data.max_length=10"]
        sized = any(argument.startswith("data.events=") for argument in arguments)
        named = [one.partition("=")[2] for one in arguments if one.startswith("model.name=")]
        counts = bool(named) and models.trains_on(named[0]) == models.COUNTS
        small = [one for one in SMALL if not (counts and one.startswith("model."))]
        arguments = [*arguments, *small, *([] if sized else ["data.events=2000"])]
    if module == "tfrec_attn.search":
        arguments = [*arguments, "--trials=1"]
    if module == "tfrec_attn.data.example":
        # It replaces no file.
        Path(arguments[0]).unlink(missing_ok=True)
        arguments = [*arguments, "--events=2000"]
    if module in CLIENTS:
        arguments = [*arguments, "--target", f"127.0.0.1:{ports['8500']}"]
    package = importlib.util.find_spec(module).submodule_search_locations
    main = importlib.import_module(f"{module}.__main__" if package else module).main
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        try:
            code = main(arguments)
        except SystemExit as ended:
            code = ended.code
    assert code == 0, (module, arguments, out.getvalue())
    assert PRINTED.get(module, "") in out.getvalue()


def test_notebook(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {}
    for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            text = "".join(cell["source"])
            with contextlib.redirect_stdout(io.StringIO()):
                exec(compile(text, f"{NOTEBOOK.name}, {cell['id']}", "exec"), namespace)
    served = namespace["response"]["items"].numpy()[0].astype(str).tolist()
    assert served == namespace["items"][0]
    assert "page-6" in served


def test_links():
    for name, page in PAGES.items():
        prose = re.sub(r"^```.*?^```", "", page, flags=re.DOTALL | re.MULTILINE)
        for link, anchor in re.findall(r"\]\((?!https?://)([^)#]*)(?:#([^)]+))?\)", prose):
            target = (ROOT / name).parent / link if link else ROOT / name
            assert target.exists(), (name, link)
            if anchor:
                assert anchor in anchors(target.read_text(encoding="utf-8")), (name, link, anchor)


def anchors(page):
    """The anchors that Python-Markdown gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page, flags=re.MULTILINE)
    return [re.sub(r"[^\w\s-]", "", one.lower()).strip().replace(" ", "-") for one in headings]


def test_reference_names_exist():
    names = [one for page in PAGES.values() for one in re.findall(r"^::: ([\w.]+)", page, re.M)]
    assert names
    for name in names:
        module, _, attribute = name.rpartition(".")
        found = hasattr(importlib.import_module(module), attribute)
        assert found or importlib.util.find_spec(name), name
