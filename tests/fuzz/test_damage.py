"""Damaged runs and servables: what they are asked for comes out as ever, or is refused in one
sentence.
"""

import contextlib
import functools
import io
import json
import os
import random
import re
import shutil
from pathlib import Path

import grpc
import numpy as np
import pytest

from export import command as export
from export import verify
from serving.protocol.statuses import StatusError
from serving.server.loaded_model import LoadedModel
from serving.server.model_config import ModelConfig
from serving.server.model_store import ModelStore
from tests.commands import run_command
from tfrec_attn import config as configuration
from tfrec_attn import evaluate, train
from tfrec_attn.errors import ConfigError, TfrecError
from tfrec_attn.replay import measured_run
from tfrec_attn.runs import run, run_files
from tfrec_attn.runtime.runner import Runner
from tfrec_attn.training import warm_start

FACTOR = float(os.environ.get("TFREC_FUZZ", "1"))
HISTORY = ["i3", "i7", "nobody's", "i1"]
UNREAD = {"history.csv", "assets.extra/README.md"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A folder with a finished `run` and the `servable` of it."""
    folder = tmp_path_factory.mktemp("whole")
    tree = {
        "data": {"source": "synthetic", "events": 1000, "max_length": 4, "targets": 2},
        "model": {"name": "attrec", "dim": 4},
        "train": {"epochs": 1, "batch_size": 64, "negatives": 2},
        "evaluate": {"bootstrap": 0},
        "runtime": {"steps_per_execution": 1},
        "run_dir": str(folder / "run"),
    }
    with contextlib.redirect_stdout(io.StringIO()):
        train.train(configuration.from_dict(tree))
        export.export(folder / "run", folder / "servable", k=3, max_k=5)
    return folder


def damages(folder, seed, count):
    """Yields (name, function that damages a copy of the folder)."""
    chance = random.Random(seed)
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    names = [name for name in files if not name.startswith(("tensorboard/", "checkpoints/last-"))]
    for number in range(count):
        # Every file in turn, so that few examples reach all of them.
        yield (
            names[number % len(names)],
            functools.partial(damage, kind=chance.randrange(8), seed=chance.random()),
        )


def damage(path, kind, seed):
    """Damages one file."""
    chance, content = random.Random(seed), bytearray(path.read_bytes())
    if kind == 0:
        path.unlink()
    elif kind == 1:
        path.unlink()
        path.mkdir()
    elif kind == 2:
        path.write_bytes(
            chance.choice(
                [b"", b"\0" * 64, b"{}", b"[]", b"null", b'{"test": 3}', b"\xff\xfe", b"a\na\n"]
            )
        )
    elif kind == 3:
        path.write_bytes(content[: chance.randrange(len(content) or 1)])
    elif kind == 4:
        path.write_bytes(content + chance.randbytes(chance.randrange(1, 20)))
    elif kind == 5:
        lines = content.splitlines(keepends=True)
        chance.shuffle(lines)
        path.write_bytes(b"".join(lines))
    else:
        for _ in range(chance.choice([1, 1, 9]) if content else 0):
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        path.write_bytes(content)


def answer_of(ask, *expected):
    """(True, what came) or (False, the sentence of an error that may come)."""
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            return True, ask()
        except expected as error:
            return False, str(error)


def assert_sentence(text):
    assert re.fullmatch(r"[^\n]{10,600}[.?]", text), text


def assert_error(text):
    assert text.startswith("error: ") and text.endswith("\n"), text
    assert_sentence(text.removesuffix("\n"))


def of_run(folder, tree):
    """All that a run is asked for: name -> (how, errors that may come); `tree` is the configuration
    of a run that goes on from it.
    """

    def recommended():
        model = run.load_model(folder)
        items, scores = model.recommend([HISTORY, []], k=4, users=["u1", "u2"])
        return items, np.float32(scores).tolist()

    def evaluated():
        reports = {part: evaluate.evaluate(str(folder), part) for part in ("valid", "test")}
        return {part: reports[part][part] for part in reports}

    def warm():
        config = configuration.from_dict({**tree, "train": {"warm_start": str(folder)}})
        previous = warm_start.load_previous_run(config)
        data = run.prepare_data(config, known=previous.vocabularies)
        summary = warm_start.WarmStart(previous, config, data.split).summary
        return {**summary, "run": None}

    def exported():
        with contextlib.redirect_stderr(io.StringIO()), pytest.MonkeyPatch.context() as patch:
            patch.setattr("export.warmup.write_warmup", lambda *_, **__: 0)
            made = export.export(folder, folder.parent / "exported", k=3, max_k=5)
        found = answers_of(made)
        shutil.rmtree(made.parent)
        return found

    def kept():
        events = {part: measured_run.read_events(folder, part).rows() for part in ("valid", "test")}
        return events, measured_run.read_items(folder), measured_run.read_report(folder)["test"]

    def ranks():
        return {name: array.tolist() for name, array in run_files.load_ranks(folder).items()}

    return {
        "load_model": (recommended, (TfrecError,)),
        "evaluate": (evaluated, (TfrecError,)),
        "warm start": (warm, (TfrecError,)),
        "export": (exported, (TfrecError,)),
        "a replay reads": (kept, (ConfigError,)),
        "a comparison reads": (ranks, (ConfigError,)),
    }


def answers_of(version):
    """What a version answers, through the export's session and through the server's."""
    with Runner(version, optimize=False) as session:
        found = session.run(
            "serving_default", user_id=["u1", ""], history=[["", "i3", "i7"], ["", "", ""]]
        )
    model = LoadedModel(version)
    try:
        model.warm_up()
        arrays = {
            "user_id": np.array([b"u1", b""], object),
            "history": np.array([[b"", b"i3", b"i7"], [b""] * 3], object),
        }
        served = model.run("serving_default", arrays)
    finally:
        model.close()
    return [
        {name: np.asarray(one[name]).tolist() for name in ("items", "scores", "source")}
        for one in (found, served)
    ]


@pytest.mark.parametrize("sealed", [True, False], ids=["sealed", "without checksums"])
def test_runs(whole, tmp_path, sealed):
    tree = configuration.to_dict(configuration.load(whole / "run" / run.CONFIG))
    expected = {name: ask() for name, (ask, _) in of_run(whole / "run", tree).items()}
    chance = random.Random(1)
    for name, harm in damages(whole / "run", seed=2 + sealed, count=round(4 * FACTOR)):
        folder = tmp_path / "run"
        shutil.copytree(whole / "run", folder)
        if not sealed:
            (folder / "SHA256SUMS").unlink()
            # polars aborts on some damaged Parquet files, which only checksums keep from it.
            if name.endswith((".parquet", "SHA256SUMS")):
                shutil.rmtree(folder)
                continue
        harm(folder / name)
        asked = of_run(folder, tree)
        for what in chance.sample(sorted(asked), 2):
            ask, errors = asked[what]
            right, came = answer_of(ask, *errors)
            if not right:
                assert_sentence(came)
                assert sealed is False or str(folder) in came, (name, what, came)
            elif sealed:
                assert came == expected[what], (name, what)
        assert not (tmp_path / "exported").exists()
        shutil.rmtree(folder)


def test_commands_on_runs(whole, tmp_path):
    servable = whole / "servable"
    commands = [
        ("evaluate", lambda folder: run_command(evaluate.main, folder, "--json")),
        ("verify", lambda folder: run_command(verify.main, servable, "--run", folder, "--json")),
        ("export", lambda folder: run_command(export.main, folder, "--to", tmp_path / "to")),
    ]
    expected = {name: json.loads(ask(whole / "run")[1]) for name, ask in commands[:2]}
    for number, (name, harm) in enumerate(damages(whole / "run", seed=4, count=round(6 * FACTOR))):
        folder = tmp_path / "run"
        shutil.copytree(whole / "run", folder)
        harm(folder / name)
        what, ask = commands[number % 3]
        code, out, error = ask(folder)
        if code == 0 and what in expected:
            found = json.loads(out)
            assert {**found, "run": None} == {**expected[what], "run": None}, (name, what)
        elif code:
            assert (code, out) == (2, ""), (name, what, error)
            assert_error(error)
            assert not (tmp_path / "to").exists()
        shutil.rmtree(tmp_path / "to", ignore_errors=True)
        shutil.rmtree(folder)


def test_servables(whole, tmp_path):
    version = whole / "servable" / "1"
    expected = answers_of(version)
    _, report, _ = run_command(verify.main, version, "--run", whole / "run", "--json")
    for number, (name, harm) in enumerate(damages(version, seed=5, count=round(4 * FACTOR))):
        folder = tmp_path / "1"
        shutil.copytree(version, folder)
        harm(folder / name)
        right, came = answer_of(lambda folder=folder: answers_of(folder), ConfigError, StatusError)
        if right:
            assert came == expected, name
        else:
            assert_sentence(came)
        if number % 3 == 0:
            code, out, error = run_command(verify.main, folder, "--run", whole / "run", "--json")
            if code:
                assert (code, out) == (2, ""), (name, error)
                assert_error(error)
            else:
                assert {**json.loads(out), "servable": None} == {
                    **json.loads(report),
                    "servable": None,
                }
        shutil.rmtree(folder)


def test_a_server_passes_over_damaged_versions(whole, tmp_path):
    folder = tmp_path / "shop"
    shutil.copytree(whole / "servable" / "1", folder / "1")
    store = ModelStore([ModelConfig("shop", folder)], poll=60)
    arrays = {"user_id": np.array([b"u1"], object), "history": np.array([[b"i3"]], object)}
    store.start()
    try:
        expected = store.predict("shop", "", arrays)[2]["items"].tolist()
        chosen = [
            one
            for one in damages(folder / "1", seed=6, count=round(4 * FACTOR))
            if one[0] not in UNREAD
        ]
        for number, (name, harm) in enumerate(chosen, 2):
            shutil.copytree(folder / "1", tmp_path / "next")
            harm(tmp_path / "next" / name)
            changed = not same_files(folder / "1", tmp_path / "next", name)
            (tmp_path / "next").rename(folder / str(number))
            store.poll()
            served, _, answer = store.predict("shop", "", arrays)
            assert answer["items"].tolist() == expected, name
            status = store.status("shop", number)[0].status
            if served == 1 and changed:
                assert status.error_code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
                assert_sentence(status.error_message)
            # The next damage meets version 1 again.
            shutil.rmtree(folder / str(number))
            store.poll()
            assert store.available("shop") == [1]
    finally:
        store.stop()


def same_files(one, other, name):
    """Whether a file is the same in two folders."""
    paths = [Path(folder) / name for folder in (one, other)]
    return all(path.is_file() for path in paths) and paths[0].read_bytes() == paths[1].read_bytes()
