"""Two models on a request log: the measures by hand, both outputs, limits and bad input."""

import json

import pytest

from serving import shadow
from serving.checks import paired_replay
from serving.checks.paired_replay import Replayed, overlap, rank_changes, rank_correlation

LIMITS = {
    "requests": 10,
    "k": 3,
    "min_overlap": 1,
    "max_popular_share": 0.5,
    "max_empty_share": 0,
    "max_error_share": 0.25,
    "max_p50_ms": 1e6,
    "max_p99_ms": 1e6,
    "max_p99_ratio": 1e6,
}


def test_two_lists():
    assert overlap(["a", "b", "c"], ["c", "d"]) == pytest.approx(1 / 3)
    assert overlap([], []) == 1.0
    # b, c and d are in both; only the pair (c, d) has the other order.
    assert rank_correlation(["a", "b", "c", "d"], ["b", "d", "e", "c"]) == pytest.approx(1 / 3)
    assert rank_correlation(["a", "b"], ["b", "a"]) == -1
    assert rank_correlation(["a", "b"], ["b", "c"]) is None
    assert rank_changes(["a", "b"], ["b", "c"]) == {"a": (1, None), "b": (2, 1), "c": (None, 2)}


def test_measures_of_two_models():
    first = Replayed([["a", "b"], ["a"], None], [False, True], [0.1, 0.2], ["INTERNAL"])
    second = Replayed([["b", "a"], ["c"], ["d"]], [False] * 3, [0.1] * 3)
    assert paired_replay.mean_overlap(first, second) == 0.5
    assert paired_replay.mean_correlation(first, second) == -1
    assert paired_replay.popular_share(first) == 0.5
    assert paired_replay.error_share(first) == pytest.approx(1 / 3)


@pytest.fixture
def command(server, tmp_path, capsys):
    """A function that runs the command on four requests, of which one has a tab in an id."""
    log = tmp_path / "requests.jsonl"
    histories = [["i1", "i2"], ["nothing"], ["i3"], ["a\tb"]]
    log.write_text("".join(json.dumps({"history": one}) + "\n" for one in histories))
    (tmp_path / "limits.yaml").write_text(json.dumps(LIMITS))

    def run(*options, against="sasrec:1", requests=log):
        target = f"127.0.0.1:{server.grpc_port}"
        common = ["--model", "sasrec", "--against", against, "--target", target]
        code = shadow.main([*common, "--requests", str(requests), *options])
        return code, *capsys.readouterr()

    run.limits = str(tmp_path / "limits.yaml")
    return run


def test_a_model_against_itself(command):
    code, out, error = command("--json", "--limits", command.limits)
    report = json.loads(out)
    assert (code, error) == (0, "")
    assert (report["requests"], report["k"], report["answered_by_both"]) == (4, 3, 3)
    assert [report[name] for name in ("overlap", "rank_correlation", "same_lists")] == [1, 1, 1]
    for name, asked in (("model", "sasrec"), ("against", "sasrec:1")):
        one = report["models"][name]
        assert one["asked"] == asked
        assert one["popular_share"] == pytest.approx(1 / 3)
        assert (one["empty_share"], one["errors"]) == (0, {"INVALID_ARGUMENT": 1})
        assert 0 < one["latency_ms"]["p50"] <= one["latency_ms"]["p95"] <= one["latency_ms"]["p99"]
    assert report["limits"]["overlap@3"] == {
        "model": None,
        "against": 1,
        "limit": "at least 1",
        "kept": True,
    }
    assert report["within_limits"] is True


def test_text_and_a_limit_that_is_not_kept(command, tmp_path):
    code, out, error = command()
    assert (code, error) == (0, "")
    first, second, _, head, popular, *_ = out.splitlines()
    assert first == "4 requests, 3 answered by both"
    assert second == "overlap@10 1, rank correlation 1, same lists 1"
    assert head.split() == ["sasrec", "sasrec:1"]
    assert popular.split() == ["popular", "share", "0.3333", "0.3333"]
    assert "1 INVALID_ARGUMENT" in out
    (tmp_path / "limits.yaml").write_text(json.dumps({**LIMITS, "max_error_share": 0.2}))
    code, out, error = command("--limits", command.limits, "--k", "2", "--most", "4")
    assert code == 1
    assert "NOT KEPT" in out and "overlap@2" in out
    assert error == "error: error share of sasrec:1 must be at most 0.2, but is 0.25.\n"


def test_requests_are_spread_over_the_log(command):
    code, out, _ = command("--most", "2", "--json")
    # The first and the third.
    report = json.loads(out)
    assert (code, report["requests"], report["models"]["model"]["popular_share"]) == (0, 2, 0)


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ({"options": ["--k", "0"]}, 2, "--k must be 1 or greater, but is 0."),
        ({"requests": "/nothing.jsonl"}, 2, "/nothing.jsonl cannot be read: No such file"),
        ({"requests": "/nothing.csv"}, 2, "--requests /nothing.csv must be a request log, .jsonl"),
        ({"options": ["--limits", "/nothing"]}, 2, "/nothing cannot be read as YAML"),
        ({"options": ["--timeout", "-1"]}, 2, "timeout must be a number of seconds above 0"),
        ({"options": ["--against-target", "127.0.0.1:1"]}, 1, "No server answers at 127.0.0.1:1"),
        ({"against": "sasrec:9"}, 1, "NOT_FOUND"),
    ],
)
def test_what_cannot_be_used(command, options, code, words):
    options = dict(options)
    result = command(*options.pop("options", []), **options)
    assert result[:2] == (code, "")
    assert result[2].startswith("error: ") and result[2].endswith(".\n") and words in result[2]


@pytest.mark.parametrize("against", ["", ":1", "sasrec:", "sasrec:" + "9" * 19])
def test_what_is_no_reference(against, capsys):
    with pytest.raises(SystemExit) as ended:
        shadow.main(["--model", "sasrec", "--against", against, "--requests", "x.jsonl"])
    assert ended.value.code == 2
    assert "argument --against: " in capsys.readouterr().err
