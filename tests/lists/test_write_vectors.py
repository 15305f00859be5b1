"""The command that writes vectors: their product is the score."""

import json

import numpy as np
import polars as pl
import pytest

from tests.commands import assert_refused, run_command
from tfrec_attn import vectors
from tfrec_attn.runs import run


@pytest.mark.parametrize(("number", "suffix"), [(0, ".parquet"), (1, ".npy")])
def test_products_are_scores(number, suffix, exported, tmp_path):
    folder, version, _ = exported("sasrec")
    histories = {"u": ["i7", "i8"], "nobody": ["?"], "v": ["i9", "?", "日本語"]}
    lines = (json.dumps({"user_id": one, "history": two}) for one, two in histories.items())
    (tmp_path / "h.jsonl").write_text("\n".join(lines))
    model = run.load_model(folder)
    items, scores = model.recommend([histories["u"], histories["v"]], 24, exclude_seen=False)
    files = [tmp_path / f"{kind}{suffix}" for kind in ("items", "users")]
    code, out, error = run_command(
        *(vectors.main, (folder, version)[number], "--items-to", files[0], "--users-to", files[1]),
        *("--histories", tmp_path / "h.jsonl"),
    )
    assert (code, error) == (0, "")
    assert "vectors of 24 items with" in out and "1 user of whom nothing is known" in out
    (item_ids, item), (user_ids, user) = map(read, files)
    assert user_ids == ["u", "v"] and sorted(item_ids) == sorted(items[0])
    for row in range(2):
        order = [item_ids.index(one) for one in items[row]]
        np.testing.assert_allclose(user[row] @ item[order].T, scores[row], rtol=1e-4)


@pytest.mark.parametrize("name", ["decayed_transitions", "sasrec"])
def test_counts_are_told_also_for_items_alone(name, run_folder, tmp_path):
    items = ("--items-to", tmp_path / "items.npy")
    code, out, _ = run_command(vectors.main, run_folder(name), *items)
    told = "prior or counts too, which are not in the vectors" in out
    assert (code, told) == (0, name != "sasrec")


def read(path):
    """(ids, float32 [R, D'])"""
    if path.suffix == ".npy":
        return path.with_suffix(".txt").read_text().split("\n")[:-1], np.load(path, mmap_mode="r")
    frame = pl.read_parquet(path)
    return frame.to_series(0).to_list(), np.array(frame["vector"].to_list(), np.float32)


@pytest.mark.parametrize(
    ("options", "pieces"),
    [
        ([], ["--items-to, --users-to or both"]),
        (["--items-to", "items.csv"], ["--items-to must end with one of .parquet, .npy"]),
        (["--items-to", "there.npy"], ["there.txt exists"]),
        (["--items-to", "i.npy", "--users", "u.txt"], ["need --users-to"]),
        (["--items-to", "i.npy", "--users-to", "./i.npy"], ["two files, but both are i.npy"]),
    ],
)
def test_bad_input(options, pieces, run_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.txt").write_text("mine")
    assert_refused(run_command(vectors.main, run_folder("sasrec"), *options), 2, *pieces)
    assert [path.name for path in tmp_path.iterdir()] == ["there.txt"]
    assert (tmp_path / "there.txt").read_text() == "mine"


def test_what_is_wrong_with_a_file_of_histories_leaves_nothing(run_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "h.jsonl").write_text('{"user_id": "a\\nb", "history": ["i7"]}\n')
    (tmp_path / "empty.jsonl").touch()
    command = (vectors.main, run_folder("sasrec"), "--items-to", "i.npy", "--users-to")
    refused = run_command(*command, "u.npy", "--histories", "h.jsonl")
    assert_refused(refused, 2, "user_id 'a\\nb' has a line break; name a .parquet")
    refused = run_command(*command, "u.parquet", "--histories", "empty.jsonl")
    assert_refused(refused, 2, "There are no users")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["empty.jsonl", "h.jsonl"]
