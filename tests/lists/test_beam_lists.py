"""Lists from a pipeline on the DirectRunner are those of one machine."""

import warnings

import pytest

from tests.commands import run_command
from tests.lists.test_write_lists import lists_in, write_histories
from tfrec_attn import recommend


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
