"""The command that writes lists: what it writes for runs and servables, and what it refuses."""

import errno
import gzip
import json
from itertools import islice

import numpy as np
import polars as pl
import pytest

from tests.commands import assert_refused, run_command
from tfrec_attn import recommend
from tfrec_attn.lists import file_histories
from tfrec_attn.lists import write_lists as module
from tfrec_attn.runs import run


@pytest.fixture(scope="module")
def log(run_folder):
    """User -> all of their items, oldest first, as the log of the run has them."""
    frame = pl.read_csv(run_folder("sasrec").parent / "log.csv").sort("timestamp")
    return dict(frame.group_by("user_id", maintain_order=True).agg("item_id").iter_rows())


@pytest.fixture(scope="module")
def expected(run_folder, log):
    """User -> the list that the model recommends in Python."""
    items, _ = run.load_model(run_folder("sasrec")).recommend(list(log.values()), k=6)
    return dict(zip(log, items, strict=True))


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(module, "_USERS", 7)


def lists_in(path):
    """User -> items of a file in any format."""
    if path.name.endswith((".jsonl", ".jsonl.gz")):
        data = path.read_bytes()
        lines = (gzip.decompress(data) if path.suffix == ".gz" else data).splitlines()
        return {tree["user_id"]: tree["items"] for tree in map(json.loads, lines)}
    frame = pl.read_parquet(path) if path.suffix == ".parquet" else pl.read_csv(path)
    for part in frame.partition_by("user_id", maintain_order=True):
        assert part["rank"].to_list() == list(range(1, len(part) + 1))
        assert part["score"].is_sorted(descending=True)
    groups = frame.group_by("user_id", maintain_order=True).agg("item_id")
    return dict(groups.iter_rows())


def write_histories(path, histories):
    lines = (json.dumps({"user_id": user, "history": items}) for user, items in histories.items())
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


@pytest.mark.parametrize("name", ["l.parquet", "l.csv", "l.csv.gz", "l.jsonl", "l.jsonl.gz"])
def test_lists_of_all_users_of_a_run(name, run_folder, expected, small_parts, tmp_path):
    code, out, error = run_command(
        recommend.main, run_folder("sasrec"), "--to", tmp_path / name, "--k", 6
    )
    assert (code, error) == (0, "")
    assert lists_in(tmp_path / name) == expected
    assert f"Wrote {tmp_path / name}: lists of 6 items for 30 users" in out
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_servable_gives_the_lists_of_its_run(exported, log, expected, small_parts, tmp_path):
    _, version, _ = exported("sasrec")
    # The same histories for users that nobody has seen.
    histories = {f"new {user}": items for user, items in log.items()}
    file = write_histories(tmp_path / "h.jsonl", histories)
    found = []
    for model in (version.parent, run_folder_of(exported)):
        to = tmp_path / f"{len(found)}.parquet"
        result = run_command(recommend.main, model, "--to", to, "--histories", file, "--k", 6)
        assert (result[0], result[2]) == (0, "")
        found.append(pl.read_parquet(to))
    assert found[0].drop("score").equals(found[1].drop("score"))
    np.testing.assert_allclose(found[0]["score"], found[1]["score"], rtol=1e-5, atol=1e-6)
    assert lists_in(tmp_path / "0.parquet") == {f"new {one}": two for one, two in expected.items()}


def run_folder_of(exported):
    return exported("sasrec")[0]


@pytest.mark.parametrize("kind", ["jsonl.gz", "parquet", "csv"])
def test_histories_in_other_files(kind, run_folder, log, expected, tmp_path):
    file, some = tmp_path / f"h.{kind}", dict(list(log.items())[:9])
    if kind == "jsonl.gz":
        plain = write_histories(tmp_path / "h.jsonl", some)
        file.write_bytes(gzip.compress(plain.read_bytes()))
    elif kind == "parquet":
        pl.DataFrame({"user_id": list(some), "history": list(some.values())}).write_parquet(file)
    else:
        events = pl.read_csv(run_folder("sasrec").parent / "log.csv")
        events.filter(pl.col("user_id").is_in(list(some))).reverse().write_csv(file)
    to = tmp_path / "lists.jsonl"
    result = run_command(
        *(recommend.main, run_folder("sasrec"), "--to", to, "--histories", file, "--k", 6)
    )
    assert (result[0], result[2]) == (0, "")
    assert lists_in(to) == {user: expected[user] for user in some}


def test_some_users_and_some_items(run_folder, log, expected, tmp_path):
    (tmp_path / "users.txt").write_text("person-7\nnobody\r\n\nperson-2\n")
    excluded = expected["person-7"][:2]
    (tmp_path / "exclude.txt").write_text("\n".join(excluded))
    to = tmp_path / "lists.csv"
    files = ("--users", tmp_path / "users.txt", "--exclude", tmp_path / "exclude.txt")
    code, out, error = run_command(
        recommend.main, run_folder("sasrec"), "--to", to, "--k", 4, *files
    )
    assert code == 0
    assert error == (
        f"note: 1 of the 3 users of --users is not in the log of {run_folder('sasrec')} "
        "and has no history.\n"
    )
    assert "1 user of whom nothing is known gets the popular items" in out
    found = lists_in(to)
    assert list(found) == ["person-7", "nobody", "person-2"]
    assert found["person-7"] == expected["person-7"][2:]
    counts = np.load(run_folder("sasrec") / "vocabulary" / "item_counts.npy")
    items = (run_folder("sasrec") / "vocabulary" / "items.txt").read_text().split("\n")
    popular = [items[row] for row in np.argsort(-counts, kind="stable")]
    assert found["nobody"] == [item for item in popular if item not in excluded][:4]


def test_unknown_items_are_counted(run_folder, tmp_path):
    file = write_histories(tmp_path / "h.jsonl", {"u": ["?", "!"], "v": ["i7", "?"], "w": []})
    code, out, error = run_command(
        *(recommend.main, run_folder("sasrec"), "--to", tmp_path / "l.jsonl", "--histories", file)
    )
    assert (code, error) == (0, "")
    assert "2 users of whom nothing is known get the popular items" in out
    assert "3 events of the histories have an item that the model does not know" in out
    trees = [json.loads(line) for line in (tmp_path / "l.jsonl").read_text().splitlines()]
    assert [tree["source"] for tree in trees] == ["popular", "model", "popular"]
    assert [len(tree["items"]) for tree in trees] == [24, 23, 24]
    assert "1 list is shorter" in out


def test_a_killed_command_resumes(run_folder, expected, small_parts, monkeypatch, tmp_path):
    to, asked = tmp_path / "lists.csv", []
    arguments = (recommend.main, run_folder("sasrec"), "--to", to, "--k", 6)
    original = module.Recommender.recommend

    def stop_in_the_third(self, batch):
        asked.append(len(batch.lengths))
        if len(asked) == 3:
            raise KeyboardInterrupt
        return original(self, batch)

    monkeypatch.setattr(module.Recommender, "recommend", stop_in_the_third)
    code, _, error = run_command(*arguments)
    assert (code, error) == (130, f"interrupted: the same command resumes from {to}.partial\n")
    assert not to.exists()
    refused = run_command(*arguments[:-1], 5)
    assert_refused(refused, 2, f"{to}.partial", "another --k", "run that command again")
    code, out, _ = run_command(*arguments)
    assert (code, asked) == (0, [7, 7, 7, 7, 7, 2])
    assert "for 30 users; 16 in" in out
    assert lists_in(to) == expected
    before = to.read_bytes()
    assert_refused(run_command(*arguments), 2, f"{to} exists")
    assert to.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["lists.csv"]


def test_histories_that_cannot_be_read_to_their_end(run_folder, small_parts, monkeypatch, tmp_path):
    histories = {f"u{one}": ["i1", f"i{one}"] for one in range(12)}
    file, to = write_histories(tmp_path / "h.jsonl", histories), tmp_path / "lists.csv"
    arguments = recommend.main, run_folder("sasrec"), "--to", to, "--histories", file, "--k", 2
    original = file_histories.requests_of

    def failing(path, lines):
        yield from islice(original(path, lines), 9)
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(file_histories, "requests_of", failing)
        refused = run_command(*arguments)
    assert_refused(refused, 1, "h.jsonl cannot be read to its end (Input/output error); run the")
    code, out, _ = run_command(*arguments)
    # The first part stays.
    assert code == 0 and "lists of 2 items for 12 users; 5 in" in out


@pytest.mark.parametrize(
    ("options", "pieces"),
    [
        (["--to", "lists.txt"], ["--to must end with one of .parquet", "lists.txt"]),
        (["--to", "l.csv", "--k", "0"], ["--k must be in 1..24", "is 0"]),
        (["--to", "l.csv", "--k", "25"], ["--k must be in 1..24", "is 25"]),
        (["--to", "l.csv", "--allow", "empty.txt"], ["--allow", "empty.txt", "has none"]),
        (["--to", "l.csv", "--exclude", "no.txt"], ["--exclude", "no.txt", "No such file"]),
        (["--to", "l.csv", "--exclude", "bytes.txt"], ["bytes.txt", "UTF-8", "byte 0"]),
        (["--to", "l.csv", "--users", "wrong.txt"], ["--users", "none of the 2 ids"]),
        (["--to", "l.csv", "--users", "wrong.txt", "--histories", "h.jsonl"], ["exclude each"]),
        (["--to", "l.csv", "--histories", "no.jsonl"], ["no.jsonl does not exist"]),
        (["--to", "l.csv", "--histories", "folder.jsonl"], ["folder.jsonl cannot be read (", "Is"]),
        (["--to", "l.csv", "--histories", "wrong.jsonl"], ["wrong.jsonl, line 2", "got"]),
        (["--to", "l.csv", "--histories", "nobody.jsonl"], ["request 2", "user_id"]),
        (["--to", "l.csv", "--histories", "empty.jsonl"], ["no users"]),
        (["--to", "l.csv", "--histories", "wrong.parquet"], ["wrong.parquet", "user_id"]),
    ],
)
def test_bad_input_leaves_nothing(options, pieces, run_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.txt").write_text("\n\n")
    (tmp_path / "folder.jsonl").mkdir()
    (tmp_path / "bytes.txt").write_bytes(b"\xffid\n")
    (tmp_path / "wrong.txt").write_text("i1\ni2\n")
    good = '{"user_id": "u", "history": ["i1"]}\n'
    (tmp_path / "h.jsonl").write_text(good)
    (tmp_path / "wrong.jsonl").write_text(good + '{"user_id": "v"}\n')
    (tmp_path / "nobody.jsonl").write_text(good + '{"history": ["i1"]}\n')
    (tmp_path / "empty.jsonl").write_text("\n")
    pl.DataFrame({"user": ["u"], "history": [["i1"]]}).write_parquet(tmp_path / "wrong.parquet")
    before = sorted(path.name for path in tmp_path.iterdir())
    assert_refused(run_command(recommend.main, run_folder("sasrec"), *options), 2, *pieces)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_what_a_model_must_be(exported, tmp_path):
    to = ("--to", tmp_path / "l.csv")
    refused = run_command(recommend.main, tmp_path, *to)
    assert_refused(refused, 2, "neither a finished run nor a servable")
    refused = run_command(recommend.main, exported("sasrec")[1], *to)
    assert_refused(refused, 2, "is a servable", "--histories")


def test_a_folder_of_somebody_else_stays(run_folder, tmp_path):
    (tmp_path / "l.csv.partial").mkdir()
    (tmp_path / "l.csv.partial" / "mine.txt").write_text("mine")
    refused = run_command(recommend.main, run_folder("sasrec"), "--to", tmp_path / "l.csv")
    assert_refused(refused, 2, "l.csv.partial", "move it away")
    assert (tmp_path / "l.csv.partial" / "mine.txt").read_text() == "mine"


def test_a_changed_log_is_noted(run_folder, log, tmp_path, monkeypatch):
    folder = run_folder("sasrec")
    path, text = folder.parent / "log.csv", (folder.parent / "log.csv").read_bytes()
    try:
        path.write_bytes(text + b"late,i7,99999\n" * 5)
        code, _, error = run_command(recommend.main, folder, "--to", tmp_path / "l.jsonl")
        path.unlink()
        gone = run_command(recommend.main, folder, "--to", tmp_path / "m.jsonl")
    finally:
        path.write_bytes(text)
    assert code == 0 and "note: The log of" in error and "has changed" in error
    assert list(lists_in(tmp_path / "l.jsonl")) == [*log, "late"]
    assert_refused(gone, 2, "does not exist", "--histories")
