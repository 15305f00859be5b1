import dataclasses
import json
import math
import shutil

import pytest
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from serving import promote
from serving.checks import canary
from serving.checks.canary import CanaryLimits, read_limits
from serving.checks.paired_replay import Replayed, quantile
from serving.local_server import LocalServer
from serving.server.model_config import ModelConfig, VersionPolicy
from serving.server.model_store import ModelStore
from tfrec_attn.errors import ConfigError

LIMITS = CanaryLimits(8, 5, 0.5, 0.25, 0.25, 0.25, 1e6, 1e6, 1e6)
ANSWERED = Replayed([["a", "b"], ["c"], []], [False, False, True], [0.001, 0.002, 0.004])


def judged(limits=LIMITS, **changes):
    return {
        row.name: row
        for row in canary.judge(ANSWERED, dataclasses.replace(ANSWERED, **changes), limits)
    }


def test_measures():
    # overlap: {a} of {a, b}, nothing of {c} and {c, d} but c, and of two empty answers all: (1/2 +
    # 1/2 + 1) / 3
    rows = judged(
        items=[["a", "x"], ["d", "c"], []],
        popular=[True, True, False],
        seconds=[0.004, 0.002, 0.008],
    )
    assert rows["overlap@5"].canary == pytest.approx(2 / 3) and rows["overlap@5"].stable is None
    assert (rows["popular share"].stable, rows["popular share"].canary) == (
        pytest.approx(1 / 3),
        pytest.approx(2 / 3),
    )
    assert rows["empty share"].canary == pytest.approx(1 / 3) and rows["error share"].canary == 0
    assert (rows["p50 ms"].stable, rows["p50 ms"].canary) == (pytest.approx(2), pytest.approx(4))
    assert rows["p99 ms"].canary == pytest.approx(8) and rows["p99 ratio"].canary == pytest.approx(
        2
    )
    assert [name for name, row in rows.items() if not row.kept] == ["popular share", "empty share"]


def test_quantiles():
    # The 99 smallest of 100 are those up to the 99th; half of 5 is 2.5, so that the third is the
    # first not to be exceeded by half of them.
    assert quantile(range(1, 101), 0.99) == 99
    assert quantile([5, 1, 4, 2, 3], 0.5) == 3
    assert quantile([7], 0.99) == 7
    assert math.isnan(quantile([], 0.5))


def test_requests_that_are_not_answered():
    rows = judged(items=[None, ["c"], []], popular=[False, True], seconds=[0.001, 0.001])
    assert rows["error share"].canary == pytest.approx(1 / 3) and not rows["error share"].kept
    assert rows["overlap@5"].canary == 1.0
    rows = judged(items=[None] * 3, popular=[], seconds=[])
    assert not any(row.kept for name, row in rows.items())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("min_overlap", 0.999),
        ("max_popular_share", 0.3),
        ("max_empty_share", 0.3),
        ("max_p50_ms", 1.9),
        ("max_p99_ms", 3.9),
        ("max_p99_ratio", 0.9),
    ],
)
def test_each_limit_counts(name, value):
    limits = dataclasses.replace(LIMITS, max_popular_share=1.0, max_empty_share=1.0)
    same = {"items": [["a", "b"], ["c", "d"], []]} if name == "min_overlap" else {}
    assert all(row.kept for row in judged(limits, **same).values())
    assert [
        row.kept for row in judged(dataclasses.replace(limits, **{name: value}), **same).values()
    ].count(False) == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("max_p99: 3", "max_p99, which is not a limit; did you mean max_p99_ms?"),
        ("zzz: 3", "leave it out."),
        ("-k", "lacks k;"),
        ("k: 1.5", "k in .* must be a whole number from 1, but is 1.5"),
        ("k: true", "must be a whole number"),
        ("min_overlap: 1.5", "min_overlap in .* must be a share from 0 to 1"),
        ("max_p99_ms: fast", "max_p99_ms in .* must be a number from 0, but is 'fast'"),
        ("max_p99_ms: .nan", "must be a number from 0"),
        ("[", "cannot be read as YAML"),
    ],
)
def test_limits_that_cannot_be_used(tmp_path, change, words):
    names = [field.name for field in dataclasses.fields(CanaryLimits)]
    kept = [f"{name}: 1" for name in names if name != change.split(":")[0].lstrip("-")]
    (tmp_path / "limits.yaml").write_text(
        "\n".join([*kept, *([] if change.startswith("-") else [change])])
    )
    with pytest.raises(ConfigError, match=words):
        read_limits(tmp_path / "limits.yaml")


def test_limits_are_numbers(tmp_path):
    (tmp_path / "limits.yaml").write_text(
        "\n".join(f"{field.name}: 1" for field in dataclasses.fields(CanaryLimits)).replace(
            "overlap: 1", "overlap: 1e-3"
        )
    )
    assert read_limits(tmp_path / "limits.yaml").min_overlap == 0.001
    with pytest.raises(ConfigError, match="missing"):
        read_limits(tmp_path / "missing")


@pytest.fixture(scope="module")
def versions(servable, tmp_path_factory):
    """A server of two versions with the same weights."""
    folder = tmp_path_factory.mktemp("versions") / "sasrec"
    for number in ("1", "2"):
        shutil.copytree(servable / "1", folder / number)
    model = ModelConfig("sasrec", folder, VersionPolicy(every=True), {"stable": 1, "canary": 2})
    server = LocalServer(ModelStore([model], poll=60), port=0, rest_port=None)
    server.start()
    yield server, folder
    server.stop(grace=5)


CONFIG = """# The models.
# Their labels move.
model_config_list {{
  config {{
    name: "sasrec" base_path: "{folder}" model_platform: "tensorflow"
    model_version_policy {{ all {{}} }}
    version_labels {{ key: "stable" value: {stable} }}
    version_labels {{ key: "canary" value: 2 }}  # Under trial.
  }}
}}
"""


# With named versions, and the label of the version before.
NAMED = """model_config_list {{ config {{
  name: "sasrec" base_path: "{folder}" model_platform: "tensorflow"
  model_version_policy {{ specific {{ versions: {versions} }} }}
  version_labels {{ key: "stable" value: {stable} }}
  version_labels {{ key: "canary" value: {canary} }}
  version_labels {{ key: "previous" value: {previous} }}
}} }}
"""
ONE = {"stable": 1, "canary": 1, "previous": 1}


def set_labels(server, **labels):
    server.store.reload([ModelConfig("sasrec", None, VersionPolicy(every=True), labels)])


@pytest.fixture
def files(versions, run, tmp_path):
    """A function that runs the command with these options.

    `files(limit=value, stable=1)` returns (code, the label on the server, the configuration).
    """
    server, folder = versions
    set_labels(server, stable=1, canary=2)
    config, limits = tmp_path / "models.config", tmp_path / "limits.yaml"

    def command(*more, stable=1, text=None, **changes):
        config.write_text(text or CONFIG.format(folder=folder, stable=stable))
        limits.write_text(
            "\n".join(
                f"{name}: {value}"
                for name, value in {**dataclasses.asdict(LIMITS), **changes}.items()
            )
        )
        common = [
            "--target",
            f"127.0.0.1:{server.grpc_port}",
            "--model",
            "sasrec",
            "--run",
            str(run),
            "--config",
            str(config),
            "--limits",
            str(limits),
        ]
        code = promote.main([*common, *more])
        return code, server.store.labels("sasrec")["stable"], config.read_text()

    command.folder = folder
    return command


def test_a_good_canary_becomes_stable(files, capsys, tmp_path):
    code, stable, text = files()
    out, error = capsys.readouterr()
    assert (code, stable, error) == (0, 2, "")
    assert "stable 1" in out and "canary 2" in out and "stable moved from version 1 to 2." in out
    assert out.count(" ok\n") == 7 and "NOT KEPT" not in out
    config = text_format.Parse(
        text, model_server_config_pb2.ModelServerConfig()
    ).model_config_list.config[0]
    assert (
        dict(config.version_labels) == {"stable": 2, "canary": 2}
        and config.HasField("model_version_policy")
        and config.model_platform == "tensorflow"
    )
    # Nothing else in the file has changed.
    assert text.replace('"stable" value: 2', '"stable" value: 1') == CONFIG.format(
        folder=files.folder, stable=1
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["limits.yaml", "models.config"]


def test_the_label_stays_when_a_limit_is_not_kept(files, capsys):
    code, stable, text = files(max_p50_ms=1e-6)
    out, error = capsys.readouterr()
    assert (code, stable) == (1, 1) and 'key: "stable" value: 1' in text
    assert "NOT KEPT" in out and "moved" not in out
    assert error.startswith(
        "error: p50 ms of canary must be at most 1e-06, but is "
    ) and error.endswith("stable stays at version 1.\n")


def test_json(files, capsys):
    assert files("--json")[:2] == (0, 2)
    report = json.loads(capsys.readouterr().out)
    assert (
        report["versions"] == {"stable": 1, "canary": 2}
        and report["within_limits"] is True
        and 1 <= report["requests"] <= 8
    )
    # The same weights.
    assert report["measures"]["overlap@5"] == {
        "stable": None,
        "canary": 1.0,
        "limit": "at least 0.5",
        "kept": True,
    }


def test_a_version_is_served_as_canary_first(versions, files, capsys):
    server, folder = versions
    # Version 2 stays loaded, because loading it again takes seconds.
    server.store.reload([ModelConfig("sasrec", None, VersionPolicy(specific=(1, 2)), ONE)])
    code, stable, text = files(
        "--version", "2", text=NAMED.format(folder=folder, versions=1, **ONE)
    )
    assert (code, stable) == (0, 2)
    assert "stable moved from version 1 to 2." in capsys.readouterr().out
    labels = {"stable": 2, "canary": 2, "previous": 1}
    assert server.store.labels("sasrec") == labels
    assert text == NAMED.format(folder=folder, versions="1 versions: 2", **labels)


def test_a_version_that_cannot_be_served(versions, files, capsys):
    server, folder = versions
    server.store.reload([ModelConfig("sasrec", None, VersionPolicy(specific=(1, 2)), ONE)])
    before = NAMED.format(folder=folder, versions="1 versions: 2", **ONE)
    assert files("--version", "7", "--load-seconds", "0", text=before) == (1, 1, before)
    error = capsys.readouterr().err
    assert "does not serve version 7 of sasrec (it is not there in time); look at" in error
    assert server.store.labels("sasrec") == ONE


def test_nothing_to_move(files, versions, capsys):
    set_labels(versions[0], stable=2, canary=2)
    assert files(stable=2)[:2] == (0, 2)
    assert "stable and canary are both version 2: nothing to move." in capsys.readouterr().out


def test_what_cannot_be_promoted(files, capsys):
    for more, code, words in (
        (("--model", "x"), 2, "must have the model x once, but has sasrec"),
        (("--target", "127.0.0.1:1"), 1, "No server answers at 127.0.0.1:1"),
        (("--config", "/nothing"), 2, "/nothing cannot be read as a ModelServerConfig"),
        (("--limits", "/nothing"), 2, "/nothing cannot be read as YAML"),
        (("--run", "/nothing"), 2, "/nothing has no test.parquet"),
    ):
        assert files(*more)[:2] == (code, 1)
        error = capsys.readouterr().err
        assert error.startswith("error: ") and words in error and error.endswith(".\n")
    assert files(stable=2)[:2] == (2, 1)
    assert "stable is version 1 on" in capsys.readouterr().err
