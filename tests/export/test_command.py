"""Tests of `python -m export`: what a version holds, what it answers, and all errors."""

import functools
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import yaml

from export import command
from tests import commands
from tests.commands import own_messages, run_command
from tests.models.contract import EXPORTED
from tfrec_attn.replay.event_blocks import padded
from tfrec_attn.replay.measured_run import read_events
from tfrec_attn.runs import run, run_files
from tfrec_attn.runtime.runner import Runner

quietly = functools.partial(run_command, command.main)
refused = functools.partial(commands.refused, command.main)

REPOSITORY = Path(__file__).resolve().parents[2]
JOINED = [
    f"{name}_joined" for name in ("embed", "explain", "recommend", "score", "serving_default")
]
SIGNATURES = sorted(
    ["embed", "embed_items", "explain", "recommend", "score", "serving_default", "similar", *JOINED]
)


# --- What a version holds ---


@pytest.fixture(scope="module", params=EXPORTED)
def version(request, exported):
    """(run, version folder, what the command printed) of each model."""
    return exported(request.param, "--k", "7", "--max-k", "21")


def test_files_of_a_version(version):
    folder, version, _ = version
    model = run.load_model(folder)
    assets = {"assets/items.txt", *(["assets/users.txt"] if model.uses_user else [])}
    extra = {
        f"assets.extra/{name}"
        for name in (
            "README.md",
            "SHA256SUMS",
            "config.yaml",
            "model_card.json",
            "tf_serving_warmup_requests",
        )
    }
    files = {str(path.relative_to(version)) for path in version.rglob("*") if path.is_file()}
    assert {name for name in files if not name.startswith("variables/")} == {
        "saved_model.pb",
        "fingerprint.pb",
    } | assets | extra
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    config["data"]["path"], config["run_dir"] = "log.csv", folder.name
    config["evaluate"]["repeats"] = "exclude"
    assert (
        yaml.safe_load((version / "assets.extra" / "config.yaml").read_text(encoding="utf-8"))
        == config
    )
    assert (version / "assets" / "items.txt").read_bytes() == (
        folder / "vocabulary" / "items.txt"
    ).read_bytes()
    assert [path.name for path in version.parent.iterdir()] == ["1"]
    sums = dict(
        reversed(line.split("  "))
        for line in (version / "assets.extra" / "SHA256SUMS").read_text().splitlines()
    )
    assert sums == {
        name: hashlib.sha256((version / name).read_bytes()).hexdigest() for name in sums
    }
    assert files - sums.keys() == {"assets.extra/SHA256SUMS"}


def test_no_file_has_a_path_of_the_machine(version):
    folder, version, _ = version
    paths = {
        str(folder.parent),
        str(Path.home()),
        os.getcwd(),
        tempfile.gettempdir(),
        str(REPOSITORY),
    } - {"/"}
    files = [path for path in version.rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {
        "saved_model.pb",
        "tf_serving_warmup_requests",
        "model_card.json",
        "README.md",
    }
    for file in files:
        content = file.read_bytes()
        assert [path for path in paths if path.encode() in content] == [], file.name


def test_only_the_user_vocabulary_has_users(version):
    folder, version, _ = version
    with_users = {
        path.name
        for path in version.rglob("*")
        if path.is_file() and b"person-" in path.read_bytes()
    }
    assert with_users == ({"users.txt"} if run.load_model(folder).uses_user else set())


def test_model_card(version):
    card = json.loads((version[1] / "assets.extra" / "model_card.json").read_text())
    assert (card["name"], card["version"]) == ("shop", 1)
    # All columns but the squared norms of AttRec; counts are no points.
    points = {"attrec": [*range(8), *range(9, 17)], "sasrec": list(range(8))}
    assert card["serving"].pop("points") == points.get(card["model"]["name"], [])
    assert card["serving"] == {
        "max_length": 4,
        "k": 7,
        "max_k": 21,
        "keep_seen": False,
        "separator": "\t",
        "index": None,
        "matrix": None,
    }
    assert sorted(card["signatures"]) == SIGNATURES


def test_printed_signatures_and_size(version):
    _, version, out = version
    assert (
        "Signatures: embed, embed_items, explain, recommend, score, serving_default, similar.\n"
        "Joined signatures: embed_joined, explain_joined, recommend_joined, score_joined, "
        "serving_default_joined.\n"
        "The model card, assets.extra/README.md, has their inputs and outputs.\n"
    ) in out
    card = (version / "assets.extra" / "README.md").read_text(encoding="utf-8")
    assert "`items` string [?, 7], `scores` float32 [?, 7], `source` string [?]" in card
    size = sum(path.stat().st_size for path in version.rglob("*") if path.is_file())
    assert out.endswith(f"\nWrote {version}: {size / 1e6:.1f} MB.\n")


def test_responses_are_those_of_the_run(version):
    folder, version, _ = version
    model, events = run.load_model(folder), read_events(folder)
    users, histories = events["user_id"].to_list(), events["history"].to_list()
    with Runner(version) as runner:
        result = runner.run("serving_default", user_id=users, history=padded(histories, 12))
        popular = runner.run("serving_default", user_id=["nobody"], history=[[""]])
    items, scores = model.recommend(histories, 7, users=users)
    np.testing.assert_allclose(result["scores"], scores, rtol=1e-5, atol=1e-6)
    assert [[one.decode() for one in row] for row in result["items"]] == items

    counts = np.load(folder / run_files.ITEM_COUNTS)
    assert popular["source"].tolist() == [b"popular"]
    np.testing.assert_allclose(
        popular["scores"][0], np.sort(counts)[:-8:-1] / counts.sum(), rtol=1e-6
    )


# --- Versions ---


def test_given_version_and_removal_of_old_ones(run_folder, tmp_path, no_warmup):
    folder, base = run_folder("attrec"), tmp_path / "deep" / "shop"
    (base / "3").mkdir(parents=True)
    assert quietly(folder, "--to", base, "--version", 8, "--keep-seen")[0] == 0
    assert command.export(folder, base, keep=2) == base / "9"
    # No export wrote version 3: it stays.
    assert sorted(path.name for path in base.iterdir()) == ["3", "8", "9"]
    cards = [
        json.loads((base / name / "assets.extra" / "model_card.json").read_text())
        for name in ("8", "9")
    ]
    assert [(card["version"], card["serving"]["keep_seen"]) for card in cards] == [
        (8, True),
        (9, False),
    ]
    assert refused(folder, "--to", base, "--version", 9).startswith(f"version 9 exists in {base}; ")


# --- With an index ---


def test_an_index_is_compared_with_the_exact_search(exported):
    options = ("--index", "ivf", "--cells", "6", "--nprobe", "2", "--int8", "--diverse")
    folder, version, out = exported("sasrec", *options)
    card = json.loads((version / "assets.extra" / "model_card.json").read_text())
    events, index = read_events(folder), card["serving"]["index"]
    users, histories = events["user_id"].to_list(), padded(events["history"].to_list(), 10)
    with Runner(version) as runner:
        found = runner.run("serving_default", user_id=users, history=histories)["items"]
    best, _ = run.load_model(folder).recommend(events["history"].to_list(), 10)
    recall = np.mean(
        [
            len(set(one) & {item.decode() for item in other}) / len(one)
            for one, other in zip(best, found, strict=True)
        ]
    )
    assert 0 < recall < 1
    assert index["recall@10"] == round(recall, 4)
    assert (index["kind"], index["nprobe"], index["int8"]) == ("ivf", 2, True)
    assert 2 < index["cells"] <= 6
    assert out.startswith("Putting 24 items in 6 cells ...\n")
    figures = f"recall@10 {index['recall@10']}, median request {index['p50_ms']} ms, exact "
    slower = index["p50_ms"] >= index["exact_p50_ms"]
    assert ("The index is not faster for this catalogue: without --index, " in out) == slower
    assert f"\nBeside the exact float32 search, over 30 test histories: {figures}" in out
    assert index["p50_ms"] > 0


def test_an_index_scans_as_many_cells_as_it_needs(run_folder, tmp_path, no_warmup):
    options = ("--index", "ivf", "--int8", "--max-k", 3, "--k", 3)
    assert quietly(run_folder("attrec"), "--to", tmp_path, *options)[0] == 0
    card = json.loads((tmp_path / "1" / "assets.extra" / "model_card.json").read_text())
    index = card["serving"]["index"]
    assert index["int8"] is True
    assert index["cells"] <= 20
    assert index["recall@3"] > 0.8


# --- Exports that fail ---


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_nothing_is_left_of_an_export_that_fails_at_its_end(
    run_folder, tmp_path, monkeypatch, error
):
    def fail(folder, *_, **__):
        assert (Path(folder) / "saved_model.pb").exists()
        assert not Path(folder).name.isdigit()
        raise error

    def save(_, folder):
        (folder / "saved_model.pb").touch()

    monkeypatch.setattr("export.saved_model.save", save)
    monkeypatch.setattr("export.warmup.write_warmup", lambda *_, **__: 0)
    monkeypatch.setattr("export.model_card.write_card", fail)
    arguments = (run_folder("attrec"), "--to", tmp_path / "new" / "shop")
    if error is KeyboardInterrupt:
        assert quietly(*arguments) == (130, "", "interrupted: nothing was written\n")
    else:
        with pytest.raises(error):
            quietly(*arguments)
    assert list(tmp_path.iterdir()) == []


def test_the_process_is_quiet(run_folder, tmp_path):
    """What TensorFlow writes to stderr while it loads, saves and restores is hidden."""
    arguments = [
        sys.executable,
        "-m",
        "export",
        str(run_folder("sasrec")),
        "--to",
        str(tmp_path / "shop"),
    ]
    done = subprocess.run(arguments, capture_output=True, text=True, cwd=REPOSITORY, timeout=300)
    assert (done.returncode, own_messages(done.stderr)) == (0, "")
    assert done.stdout.splitlines()[-1].startswith(f"Wrote {tmp_path}/shop/1: ")
