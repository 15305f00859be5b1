"""Tests of the errors of `python -m export`: each is one sentence, and nothing is left."""

import functools
import re
import shutil

import numpy as np
import pytest

from export import command
from tests import commands
from tfrec_attn.errors import ConfigError
from tfrec_attn.runs import run_files

refused = functools.partial(commands.refused, command.main)


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
        (
            ["--format", "onnx", "--max-k", 20],
            "--max-k belongs to --format savedmodel, but the format is onnx; "
            "leave one of them out.",
        ),
        (["--separator", ""], "--separator must be one character, but is ''."),
        (["--separator", "||"], "--separator must be one character, but is '||'."),
        (
            ["--separator", "本"],
            "--separator must not be in any id, but '本' is in the item '日本語'; "
            "name another character.",
        ),
        (
            ["--separator", "x"],
            f"--separator must not be in any id, but 'x' is in the item '{'x' * 39}...{'x' * 16}'; "
            "name another character.",
        ),
        (
            ["--int8"],
            "--int8 belongs to --index ivf, but the index is exact; leave one of them out.",
        ),
        (
            ["--matrix", "int8", "--index", "ivf"],
            "--matrix int8 belongs to --index exact, but the index is ivf, which has --int8; "
            "leave one of them out.",
        ),
        (
            ["--matrix", "bfloat16", "--add-items", "new.csv"],
            "--add-items needs --matrix float32, to compare the lists before and after, but the "
            "matrix is bfloat16; leave one of them out.",
        ),
        (
            ["--matrix", "int8", "--format", "litert"],
            "--matrix belongs to --format savedmodel, but the format is litert; "
            "leave one of them out.",
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
def test_invalid_options(run_folder, tmp_path, options, sentence):
    assert refused(run_folder("attrec"), "--to", tmp_path / "shop", *options) == sentence
    assert list(tmp_path.iterdir()) == []


def test_unknown_index(run_folder, tmp_path):
    with pytest.raises(ConfigError, match=r"^--index must be one of exact, ivf, but is 'hnsw'\.$"):
        command.export(run_folder("attrec"), tmp_path, index="hnsw")


def test_unknown_matrix(run_folder, tmp_path):
    expected = r"^--matrix must be one of float32, bfloat16, int8, but is 'int4'\.$"
    with pytest.raises(ConfigError, match=expected):
        command.export(run_folder("attrec"), tmp_path, matrix="int4")


@pytest.fixture
def broken(run_folder, tmp_path):
    """A copy of a run, to be damaged; without checksums, which would tell."""
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
            r"RUN is not a finished run: it has no metrics\.json; "
            r"give a folder that tfrec_attn\.train has written\.",
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
            r"RUN has no vocabulary/item_counts\.npy; train again\.",
        ),
        (
            lambda folder: (folder / run_files.ITEM_COUNTS).write_text("?"),
            r"RUN/vocabulary/item_counts\.npy cannot be read; train again\.",
        ),
        (
            lambda folder: np.save(folder / run_files.ITEM_COUNTS, np.ones(3)),
            r"RUN/vocabulary/item_counts\.npy must have one number for each of 24 items, "
            r"but has the shape \(3,\); train again\.",
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
            r"RUN has no test\.parquet; train again\.",
        ),
        (
            lambda folder: replace(folder / "config.yaml", "dim: 8", "dim: 9"),
            r"the weights in RUN are of another model than its config\.yaml describes; "
            r"train again\.",
        ),
        (
            lambda folder: replace(folder / "config.yaml", "tied: true", "tied: false"),
            r"the weights in RUN are of another model than its config\.yaml describes; "
            r"train again\.",
        ),
    ],
)
def test_runs_that_cannot_be_exported(broken, tmp_path, damage, sentence):
    damage(broken)
    found = refused(broken, "--to", tmp_path / "new" / "shop")
    assert re.fullmatch(sentence, found.replace(str(broken), "RUN")), found
    assert [path.name for path in tmp_path.iterdir()] in ([], ["run"])


def test_unwritable_folder(run_folder, tmp_path):
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
