"""Lists from a pipeline on the DirectRunner are those of one machine."""

import warnings

import pytest

from tests.commands import assert_refused, run_command
from tests.lists.test_write_lists import lists_in, write_histories
from tfrec_attn import recommend
from tfrec_attn.lists import write_lists


@pytest.fixture(scope="module")
def beam():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield pytest.importorskip("apache_beam", reason="install the extra beam")


def test_a_pipeline_gives_the_lists_of_one_machine(beam, exported, tmp_path):
    from apache_beam.testing.util import assert_that

    from tfrec_attn.lists import beam_lists

    _, version, _ = exported("sasrec")
    histories = {f"u{one}": [f"i{one}", "?", f"i{one * 3 % 19}"] for one in range(19)}
    histories["nobody"] = ["?"]
    file, to = write_histories(tmp_path / "h.jsonl", histories), tmp_path / "lists.jsonl"
    assert run_command(recommend.main, version, "--to", to, "--histories", file, "--k", 5)[0] == 0
    wanted = lists_in(to)

    def same(found):
        assert {one["user_id"]: one["items"] for one in found} == wanted
        assert {one["source"] for one in found if one["user_id"] == "nobody"} == {"popular"}
        assert all(len(one["scores"]) == 5 for one in found)

    with beam.Pipeline(runner="DirectRunner") as pipeline:
        pairs = pipeline | beam.Create(list(histories.items()))
        assert_that(pairs | beam_lists.RecommendToUsers(version, k=5), same)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_the_command_on_a_runner_writes_the_same_file(
    beam, exported, tmp_path, monkeypatch, suffix
):
    monkeypatch.setattr(write_lists, "_USERS", 7)
    histories = {f"u{one}": [f"i{one}", "?", f"i{one * 3 % 19}"][: one % 4] for one in range(19)}
    file = write_histories(tmp_path / "h.jsonl", histories)
    command = [exported("sasrec")[1], "--histories", file, "--k", 5, "--to"]
    here, there = tmp_path / f"here{suffix}", tmp_path / f"there{suffix}"
    assert run_command(recommend.main, *command, here)[0] == 0
    code, out, _ = run_command(recommend.main, *command, there, "--runner", "DirectRunner")
    assert code == 0 and "lists of 5 items for 19 users" in out
    assert here.read_bytes() == there.read_bytes()
    assert {one.name for one in tmp_path.iterdir()} == {"h.jsonl", here.name, there.name}


def test_bad_options_of_a_runner(beam, exported, tmp_path):
    command = [exported("sasrec")[1], "--to", tmp_path / "a.csv", "--histories"]
    command.append(write_histories(tmp_path / "h.jsonl", {"u": ["i1"]}))
    result = run_command(recommend.main, *command, "--work", "w")
    assert_refused(result, 2, "--work needs --runner")
    result = run_command(recommend.main, *command, "--runner", "Abacus")
    assert_refused(result, 2, "--runner Abacus is no runner of this Beam")
    assert [one.name for one in tmp_path.iterdir()] == ["h.jsonl"]
