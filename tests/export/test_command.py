"""`python -m export` from the outside: what a version holds, what it answers, and one sentence for
everything that cannot be exported.
"""

import contextlib
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import yaml

from export import command
from export.replay import padded, read_events
from export.session import Session
from tfrec_attn import models
from tfrec_attn.errors import ConfigError
from tfrec_attn.runs import run, run_files

REPOSITORY = Path(__file__).resolve().parents[2]
JOINED = [
    f"{name}_joined" for name in ("embed", "explain", "recommend", "score", "serving_default")
]
SIGNATURES = sorted(
    ["embed", "embed_items", "explain", "recommend", "score", "serving_default", *JOINED]
)


def quietly(*arguments):
    """Runs the command in this process -> (exit code, stdout, stderr)."""
    out, error = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        code = command.main([str(argument) for argument in arguments])
    return code, out.getvalue(), error.getvalue()


def refused(*arguments):
    """The sentence that the command gives."""
    code, out, error = quietly(*arguments)
    assert (code, out) == (2, "")
    assert re.fullmatch(r"error: [^\n]+[^.]\.\n", error), error
    return error.removeprefix("error: ").rstrip("\n")


# --- What a version holds ---


@pytest.fixture(scope="module", params=models.names())
def exported(request, run_folder, tmp_path_factory):
    """(run, version folder, what the command printed) of every model."""
    base = tmp_path_factory.mktemp("servables") / "shop"
    code, out, error = quietly(run_folder(request.param), "--to", base, "--k", 7, "--max-k", 9)
    assert (code, error) == (0, "")
    return run_folder(request.param), base / "1", out


def test_files_of_a_version(exported):
    folder, version, _ = exported
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


def test_no_file_has_a_path_of_the_machine(exported):
    folder, version, _ = exported
    places = {
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
    for path in files:
        content = path.read_bytes()
        assert [place for place in places if place.encode() in content] == [], path.name


def test_no_file_but_the_table_of_users_has_a_user(exported):
    folder, version, _ = exported
    with_users = {
        path.name
        for path in version.rglob("*")
        if path.is_file() and b"person-" in path.read_bytes()
    }
    assert with_users == ({"users.txt"} if run.load_model(folder).uses_user else set())


def test_what_the_card_says(exported):
    card = json.loads((exported[1] / "assets.extra" / "model_card.json").read_text())
    assert (card["name"], card["version"]) == ("shop", 1)
    assert card["serving"] == {
        "max_length": 4,
        "k": 7,
        "max_k": 9,
        "keep_seen": False,
        "separator": "\t",
        "index": None,
    }
    assert sorted(card["signatures"]) == SIGNATURES


def test_what_is_printed(exported):
    _, version, out = exported
    assert re.findall(r"^(\w+): ", out, re.MULTILINE) == SIGNATURES
    assert "    -> items string [B, 7], scores float32 [B, 7], source string [B]\n" in out
    size = sum(path.stat().st_size for path in version.rglob("*") if path.is_file())
    assert out.endswith(f"\nWrote {version}: {size / 1e6:.1f} MB.\n")


def test_answers_are_those_of_the_run(exported):
    folder, version, _ = exported
    model, events = run.load_model(folder), read_events(folder)
    users, histories = events["user_id"].to_list(), events["history"].to_list()
    with Session(version) as session:
        result = session.run("serving_default", user_id=users, history=padded(histories, 12))
        popular = session.run("serving_default", user_id=["nobody"], history=[[""]])
    items, scores = model.recommend(histories, 7, users=users)
    np.testing.assert_allclose(result["scores"], scores, rtol=1e-5, atol=1e-6)
    assert [[one.decode() for one in row] for row in result["items"]] == items

    counts = np.load(folder / run_files.ITEM_COUNTS)
    assert popular["source"].tolist() == [b"popular"]
    np.testing.assert_allclose(
        popular["scores"][0], np.sort(counts)[:-8:-1] / counts.sum(), rtol=1e-6
    )


# --- Versions ---


def test_a_given_version_and_those_that_stay(run_folder, tmp_path):
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


def test_an_index_is_compared_with_the_exact_search(run_folder, tmp_path):
    folder = run_folder("sasrec")
    code, out, error = quietly(
        folder, "--to", tmp_path / "shop", "--index", "ivf", "--cells", 6, "--nprobe", 2
    )
    assert (code, error) == (0, "")
    serving = json.loads(
        (tmp_path / "shop" / "1" / "assets.extra" / "model_card.json").read_text()
    )["serving"]
    events, index = read_events(folder), serving["index"]
    users, histories = events["user_id"].to_list(), padded(events["history"].to_list(), 10)
    with Session(tmp_path / "shop" / "1") as session:
        found = session.run("serving_default", user_id=users, history=histories)["items"]
    best, _ = run.load_model(folder).recommend(events["history"].to_list(), 10)
    recall = np.mean(
        [
            len(set(one) & {item.decode() for item in other}) / len(one)
            for one, other in zip(best, found, strict=True)
        ]
    )
    assert 0 < recall < 1
    assert index["recall@10"] == round(recall, 4)
    assert (index["kind"], index["nprobe"], index["int8"]) == ("ivf", 2, False)
    assert 2 < index["cells"] <= 6
    assert out.startswith("Putting 24 items in 6 cells ...\n")
    assert (
        f"\nAgainst the exact search, over 30 test histories: recall@10 {index['recall@10']}, p50_ms {index['p50_ms']}, exact_p50_ms "
        in out
    )
    assert index["p50_ms"] > 0


def test_an_index_takes_as_many_cells_as_it_needs(run_folder, tmp_path):
    assert (
        quietly(
            run_folder("attrec"),
            "--to",
            tmp_path,
            "--index",
            "ivf",
            "--int8",
            "--max-k",
            3,
            "--k",
            3,
        )[0]
        == 0
    )
    index = json.loads((tmp_path / "1" / "assets.extra" / "model_card.json").read_text())[
        "serving"
    ]["index"]
    assert index["int8"] is True
    assert index["cells"] <= 20
    assert index["recall@3"] > 0.8


# --- What fails ---


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_nothing_is_left_of_an_export_that_fails_at_its_end(
    run_folder, tmp_path, monkeypatch, error
):
    def fail(folder, *_, **__):
        assert (Path(folder) / "saved_model.pb").exists()
        assert not Path(folder).name.isdigit()
        raise error

    monkeypatch.setattr("export.model_card.write_card", fail)
    arguments = (run_folder("attrec"), "--to", tmp_path / "new" / "shop")
    if error is KeyboardInterrupt:
        assert quietly(*arguments) == (130, "", "interrupted: nothing was written\n")
    else:
        with pytest.raises(error):
            quietly(*arguments)
    assert list(tmp_path.iterdir()) == []


def test_the_process_is_quiet(run_folder, tmp_path):
    """Nothing of what TensorFlow says on stderr while it loads, saves and restores."""
    arguments = [
        sys.executable,
        "-m",
        "export",
        str(run_folder("sasrec")),
        "--to",
        str(tmp_path / "shop"),
    ]
    done = subprocess.run(arguments, capture_output=True, text=True, cwd=REPOSITORY, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1].startswith(f"Wrote {tmp_path}/shop/1: ")


# --- What cannot be exported ---


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--k", 0], "--k must be 1 or greater, but is 0."),
        (["--k", 5, "--max-k", 4], "--max-k must be at least --k, 5, but is 4."),
        (["--keep", 0], "--keep must be 1 or greater, but is 0."),
        (["--version", 0], "--version must be 1 or greater, but is 0."),
        (
            ["--cells", 0],
            "--cells belongs to --index ivf, but the index is exact; leave one of them out.",
        ),
        (
            ["--nprobe", 2],
            "--nprobe belongs to --index ivf, but the index is exact; leave one of them out.",
        ),
        (["--separator", ""], "--separator must be one character, but is ''."),
        (["--separator", "||"], "--separator must be one character, but is '||'."),
        (
            ["--separator", "本"],
            "--separator must stand in no id, but '本' stands in the item '日本語'; name another character.",
        ),
        (
            ["--separator", "x"],
            f"--separator must stand in no id, but 'x' stands in the item '{'x' * 59}...; name another character.",
        ),
        (
            ["--int8"],
            "--int8 belongs to --index ivf, but the index is exact; leave one of them out.",
        ),
        (
            ["--index", "ivf", "--cells", 0],
            "--cells must be in 1..24, the number of items, but is 0.",
        ),
        (
            ["--index", "ivf", "--cells", 25],
            "--cells must be in 1..24, the number of items, but is 25.",
        ),
        (
            ["--index", "ivf", "--cells", 5, "--nprobe", 6],
            "--nprobe must be in 1..5, the number of cells, but is 6.",
        ),
        (
            ["--index", "ivf", "--nprobe", 21],
            "--nprobe must be in 1..20, the number of cells, but is 21.",
        ),
    ],
)
def test_options_that_cannot_be(run_folder, tmp_path, options, sentence):
    assert refused(run_folder("attrec"), "--to", tmp_path / "shop", *options) == sentence
    assert list(tmp_path.iterdir()) == []


def test_an_index_of_another_name(run_folder, tmp_path):
    with pytest.raises(ConfigError, match=r"^--index must be one of exact, ivf, but is 'hnsw'\.$"):
        command.export(run_folder("attrec"), tmp_path, index="hnsw")


@pytest.fixture
def broken(run_folder, tmp_path):
    """A copy of a run, to be damaged; without checksums, as those of earlier versions are."""
    shutil.copytree(
        run_folder("attrec"), tmp_path / "run", ignore=shutil.ignore_patterns("SHA256SUMS")
    )
    return tmp_path / "run"


def replace(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (
            shutil.rmtree,
            r"RUN is not a finished run: it has no metrics\.json; give a folder that tfrec_attn\.train has written\.",
        ),
        (
            lambda folder: (folder / "metrics.json").unlink(),
            r"RUN is not a finished run: it has no metrics\.json; .*\.",
        ),
        (
            lambda folder: replace(folder / "config.yaml", "name: attrec", "name: gru"),
            r"model\.name must be one of .*, but is 'gru'.*\.",
        ),
        (
            lambda folder: (folder / run_files.ITEM_COUNTS).unlink(),
            r"RUN has no vocabulary/item_counts\.npy, .*; train again\.",
        ),
        (
            lambda folder: (folder / run_files.ITEM_COUNTS).write_text("?"),
            r"RUN/vocabulary/item_counts\.npy cannot be read; train again\.",
        ),
        (
            lambda folder: np.save(folder / run_files.ITEM_COUNTS, np.ones(3)),
            r"RUN/vocabulary/item_counts\.npy must have one number for each of 24 items, but has the shape \(3,\); train again\.",
        ),
        (
            lambda folder: (folder / "vocabulary" / "items.txt").unlink(),
            r"RUN/vocabulary/items\.txt cannot be read: .*\.",
        ),
        (
            lambda folder: (folder / "checkpoints" / "best.index").unlink(),
            r"RUN has lost its weights, .*; train again\.",
        ),
        (
            lambda folder: (folder / "test.parquet").unlink(),
            r"RUN has no test\.parquet, .*; train again\.",
        ),
        (
            lambda folder: replace(folder / "config.yaml", "dim: 8", "dim: 9"),
            r"the weights in RUN are of another model than its config\.yaml describes; train again\.",
        ),
        (
            lambda folder: replace(folder / "config.yaml", "tied: true", "tied: false"),
            r"the weights in RUN are of another model than its config\.yaml describes; train again\.",
        ),
    ],
)
def test_runs_that_cannot_be_exported(broken, tmp_path, damage, sentence):
    damage(broken)
    found = refused(broken, "--to", tmp_path / "new" / "shop")
    assert re.fullmatch(sentence, found.replace(str(broken), "RUN")), found
    assert [path.name for path in tmp_path.iterdir()] in ([], ["run"])


def test_a_folder_that_cannot_be_written(run_folder, tmp_path):
    (tmp_path / "file").write_text("")
    sentence = refused(run_folder("attrec"), "--to", tmp_path / "file" / "shop")
    assert (
        sentence
        == f"{tmp_path}/file/shop cannot be written: Not a directory; name a folder that can."
    )


def test_help_names_every_option(capsys):
    with pytest.raises(SystemExit) as stop:
        command.main(["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    for option in (
        "--to",
        "--version",
        "--keep",
        "--k",
        "--max-k",
        "--keep-seen",
        "--separator",
        "--index",
        "--cells",
        "--nprobe",
        "--int8",
    ):
        assert f"{option} " in text
