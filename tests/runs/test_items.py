"""The items file of a run: what it prints and keeps, and the titles in its report."""

import shutil

import numpy as np
import polars as pl
import pytest

from tests.commands import assert_refused, run_command
from tfrec_attn import report, train
from tfrec_attn.config import Data
from tfrec_attn.data.sequences.vocabulary import Vocabulary
from tfrec_attn.errors import ConfigError
from tfrec_attn.runs.items import described, load_item_table, load_items, titles_of

ITEMS = 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a log of the items i0 .. i19."""
    folder, random = tmp_path_factory.mktemp("items"), np.random.default_rng(4)
    lines = ["user_id,item_id,timestamp"]
    for user in range(12):
        lines += [f"u{user},i{item},{time}" for time, item in enumerate(random.permutation(ITEMS))]
    (folder / "log.csv").write_text("\n".join(lines) + "\n")
    rows = [f'i{item},"<b>Item {item}</b>",x' for item in range(1, ITEMS)]
    (folder / "items.csv").write_text("\n".join(["item_id,title,category", *rows, "other,?,?\n"]))
    return folder


def arguments(folder, items="items.csv"):
    return [
        *("data.source=file", f"data.path={folder / 'log.csv'}", f"data.items={folder / items}"),
        *("model.name=decayed_transitions", "evaluate.bootstrap=10", f"run_dir={folder / 'run'}"),
    ]


@pytest.fixture(scope="module")
def trained(folder):
    code, out, error = run_command(train.main, *arguments(folder))
    assert (code, error) == (0, "")
    return folder / "run", out


def test_a_run_keeps_the_rows_of_its_items(trained):
    folder, out = trained
    assert (
        "Items file: 19 of 20 items have a row, 1 has none; 1 row of another item is ignored.\n"
        in out
    )
    ids = (folder / "vocabulary" / "items.txt").read_text().split()
    frame = load_items(folder)
    assert frame["id"].to_list() == ids
    assert dict(frame.select("id", "title").rows())["i0"] is None
    assert titles_of(frame) == {f"i{item}": f"<b>Item {item}</b>" for item in range(1, ITEMS)}
    about = dict(zip(ids, described(frame), strict=True))
    assert about["i3"] == ('{"title": "<b>Item 3</b>", "category": "x"}', "x")
    assert about["i0"] == ("", "")


def test_a_report_shows_titles(trained, tmp_path):
    code, _, error = run_command(report.main, trained[0], "--to", tmp_path / "report.html")
    assert (code, error) == (0, "")
    text = (tmp_path / "report.html").read_text()
    assert 'title="i3">&lt;b&gt;Item 3&lt;/b&gt;</bdi>' in text and "<b>" not in text
    assert "<bdi>i0</bdi>" in text


def test_a_damaged_table_is_refused(trained, tmp_path):
    folder = shutil.copytree(trained[0], tmp_path / "run")
    (folder / "items.parquet").write_bytes(b"PAR1")
    with pytest.raises(
        ConfigError, match=r"items\.parquet is not what was written: restore the run"
    ):
        load_items(folder)


def test_a_file_that_cannot_be_used_leaves_nothing(folder):
    (folder / "twice.csv").write_text("item_id\ni1\ni1\n")
    changed = [*arguments(folder, "twice.csv")[:-1], f"run_dir={folder / 'other'}"]
    message = "twice.csv, line 3: the item 'i1' is there already, in line 2: keep one."
    assert_refused(run_command(train.main, *changed), 2, message)
    assert not list(folder.glob("other*"))


def test_ids_in_their_common_spelling(tmp_path):
    pl.DataFrame({"id": ["7.0", " 8"], "title": ["seven", "eight"]}).write_csv(tmp_path / "i.csv")
    data = Data(items=str(tmp_path / "i.csv"), ids="unify")
    table = load_item_table(data, Vocabulary(["8", "9", "7"]))
    assert table.frame["title"].to_list() == ["eight", None, "seven"]
    assert (table.missing, table.ignored) == (1, 0)
