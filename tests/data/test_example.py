"""The command that writes a generated log."""

import polars as pl

from tests.commands import assert_refused, run_command
from tfrec_attn.data import example
from tfrec_attn.data.reading.synthetic import synthetic


def test_the_log_is_the_generated_one(tmp_path):
    file = tmp_path / "clicks.csv"
    code, out, error = run_command(example.main, file, "--events=2000", "--seed=3")
    found = pl.read_csv(file)
    assert (code, out, error) == (0, f"Wrote {file}: {len(found)} events\n", "")
    assert found.columns == ["visitor", "page", "timestamp"]
    assert found.rows() == synthetic(2000, 3).rows()
    before = file.read_bytes()
    assert_refused(run_command(example.main, file), 2, f"{file} exists; name a new file")
    assert file.read_bytes() == before


def test_invalid_arguments(tmp_path):
    mine = tmp_path / "mine.csv"
    mine.write_text("user,item\n1,2\n")
    assert_refused(run_command(example.main, mine), 2, "mine.csv exists; name a new file")
    assert mine.read_text() == "user,item\n1,2\n"
    new = tmp_path / "new.csv"
    for option, sentence in (
        ("--events=10", "--events must be from 1000 to 100000000, but is 10."),
        ("--events=200000000", "--events must be from 1000 to 100000000"),
        ("--seed=-1", "--seed must be 0 or greater, but is -1"),
    ):
        assert_refused(run_command(example.main, new, option), 2, sentence)
    assert_refused(run_command(example.main, tmp_path / "no" / "x.csv"), 2, "cannot be written")
    assert not new.exists()
