"""Every command and every program that README.md and docs/ show is run, on small data;
tests/test_adding_a_model.py runs that page.
"""

import gzip
import importlib
import itertools
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import tfrec_attn.data.prepare
import tfrec_attn.data.validate
import tfrec_attn.export.command
import tfrec_attn.export.verify
from tfrec_attn import evaluate, train
from tfrec_attn.data.reading.synthetic import synthetic

ROOT = Path(__file__).parent.parent
PAGES = {
    path: path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
}
SERVING = {
    f"tfrec_attn.serving.{name}"
    for name in ("local_server", "client", "verify", "load_test", "promote")
}
EXPORT = {
    "tfrec_attn.export": tfrec_attn.export.command.main,
    "tfrec_attn.export.verify": tfrec_attn.export.verify.main,
}
# The data come first, then what is trained on them.
DATA = {
    "tfrec_attn.data.validate": tfrec_attn.data.validate.main,
    "tfrec_attn.data.prepare": tfrec_attn.data.prepare.main,
}
COMMANDS = {"tfrec_attn.train", "tfrec_attn.evaluate", *EXPORT, *DATA, *SERVING}
SMALL = [
    "train.epochs=1",
    "model.dim=8",
    "evaluate.bootstrap=10",
    "train.warmup_steps=1",
    "train.negatives=5",
]


def blocks(language):
    pages = [page for path, page in PAGES.items() if path.name != "adding-a-model.md"]
    return [
        block
        for page in pages
        for block in re.findall(rf"```{language}\n(.*?)```", page, flags=re.DOTALL)
    ]


def commands():
    return [line for block in blocks("sh") for line in block.strip().splitlines()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the files that the pages name, in which every command on data and every
    training has been run.
    """
    folder = tmp_path_factory.mktemp("pages")
    log = synthetic(2000)
    log.rename({"user_id": "visitor", "item_id": "page"}).write_csv(folder / "clicks.csv")
    for name in ("beauty", "events", "tuesday"):
        (folder / f"{name}.tsv.gz").write_bytes(
            gzip.compress(log.write_csv(separator="\t").encode())
        )
    (folder / "requests.jsonl").write_text(
        '{"user_id": "u1", "history": ["i1", "i2"]}\n{"history": ["unheard of"]}\n'
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for words in map(shlex.split, commands()):
            if words[2:3] and words[2] in DATA:
                assert DATA[words[2]](words[3:]) == 0, words
        for words in map(shlex.split, commands()):
            for arguments in training_arguments(words):
                assert train.main(arguments) == 0, words
    return folder


def training_arguments(words):
    if words[:2] == ["make", "train"]:
        arguments = shlex.split(words[2].removeprefix("ARGS=")) if len(words) > 2 else []
    elif words[:3] == ["python", "-m", "tfrec_attn.train"] and words[3:] != ["--help"]:
        arguments = words[3:]
        arguments += (
            ["data.source=synthetic", "data.max_length=10"]
            if arguments and "ml-100k" in arguments[0]
            else []
        )
    else:
        return []
    sized = any(argument.startswith("data.events=") for argument in arguments)
    return [arguments + SMALL + ([] if sized else ["data.events=2000"])]


def test_commands_are_known():
    targets = re.findall(
        r"^([a-z][\w.-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    for command in commands():
        words = shlex.split(command)
        if words[0] == "make":
            assert words[1] in targets, command
        else:
            assert words[:2] == ["python", "-m"], command
            assert words[2] in COMMANDS, command


def test_evaluate_commands(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    for command in commands():
        words = shlex.split(command)
        if words[:3] == ["python", "-m", "tfrec_attn.evaluate"]:
            assert evaluate.main(words[3:]) == 0, command
            assert "MRR" in capsys.readouterr().out


def test_export_commands(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    done = [
        EXPORT[words[2]](words[3:])
        for words in map(shlex.split, commands())
        if words[:2] == ["python", "-m"] and words[2] in EXPORT
    ]
    assert done == [0, 0]
    assert "servables/attrec/1" in capsys.readouterr().out


def test_serving_commands(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    if not Path("servables").exists():
        assert (
            tfrec_attn.export.command.main(["runs/synthetic-attrec", "--to", "servables/attrec"])
            == 0
        )
    served, *others = [
        words for words in map(shlex.split, commands()) if words[2:3] and words[2] in SERVING
    ]
    command = [sys.executable, *served[1:], "--port", "0", "--rest-port", "0"]
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            ports = re.findall(r":(\d+)", "".join(itertools.islice(process.stdout, 3)))
            for words in others:
                text = (
                    shlex.join(words[3:])
                    .replace("8500", ports[0])
                    .replace("8501", ports[1])
                    .replace("--seconds 5", "--requests 20")
                )
                target = [] if "--target" in text else ["--target", f"127.0.0.1:{ports[0]}"]
                assert importlib.import_module(words[2]).main([*shlex.split(text), *target]) == 0, (
                    words
                )
        finally:
            process.terminate()
    assert process.returncode == 0
    assert "HR@10" in capsys.readouterr().out


def test_programs(folder, monkeypatch):
    monkeypatch.chdir(folder)
    programs = blocks("python")
    assert len(programs) >= 2
    for program in programs:
        exec(compile(program, "documentation", "exec"), {})


def test_links():
    for path, page in PAGES.items():
        prose = re.sub(r"^```.*?^```", "", page, flags=re.DOTALL | re.MULTILINE)
        for link in re.findall(r"\]\((?!https?://)([^)#]+)\)", prose):
            assert (path.parent / link).exists(), link
