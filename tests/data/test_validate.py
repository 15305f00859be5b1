"""The validation command without TensorFlow Data Validation."""

import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.commands import assert_refused, run_command
from tfrec_attn import config as configuration
from tfrec_attn.data import validate
from tfrec_attn.data.quality import tfdv
from tfrec_attn.data.reading.synthetic import synthetic
from tfrec_attn.data.sequences.leakage import leak_report
from tfrec_attn.data.sequences.vocabulary import Vocabulary
from tfrec_attn.runs import run

SCHEMA = Path(__file__).parent / "quality" / "inferred_schema.pbtxt"


@pytest.fixture(autouse=True)
def _without_tfdv(monkeypatch):
    monkeypatch.setattr(tfdv, "is_installed", lambda: False)


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    """Two logs: one after the other in time."""
    folder = tmp_path_factory.mktemp("logs")
    frame = synthetic(3_000)
    paths = [folder / "monday.tsv", folder / "tuesday.tsv"]
    for path, part in zip(
        paths, (frame[: frame.height // 2], frame[frame.height // 2 :]), strict=True
    ):
        part.write_csv(path, separator="\t")
    return paths


@pytest.fixture
def command(capsys):
    """A function that runs the command and returns (exit code, stdout, stderr)."""

    def call(*arguments):
        code = validate.main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return call


class Page(HTMLParser):
    """What a page shows and what it would fetch."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.fetched, self.shown = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.fetched += [value for name, value in attrs if name in ("src", "href", "onload")]

    def handle_data(self, data):
        self.shown.append(data)


def test_three_forms_of_one_report(command, logs, tmp_path):
    to = tmp_path / "some" / "report"
    code, out, error = command(logs[0], "--to", to)
    assert (code, error) == (0, "")
    assert {entry.name for entry in to.iterdir()} == {"report.html", "report.json"}
    tree = json.loads((to / "report.json").read_text())
    page = Page((to / "report.html").read_text())
    events = f"{tree['events']:,}"
    assert re.search(rf"^  events +{events}$", out, flags=re.MULTILINE)
    assert events in page.shown
    assert f"{tfdv.HOW_TO_GET_IT}; statistics and schema are left out." in out
    code, printed, error = command(logs[0], "--json")
    assert (code, error, json.loads(printed)) == (0, "", tree)


def test_a_schema_is_checked_without_statistics(command, logs, tmp_path):
    code, out, error = command(logs[0], "--schema", SCHEMA, "--to", tmp_path / "report")
    assert (code, error) == (1, "")
    assert "! rating: the log has no such column" in out
    assert f"{tfdv.HOW_TO_GET_IT}; statistics are left out." in out
    tree = json.loads((tmp_path / "report" / "report.json").read_text())
    missing = ["the log has no such column"]
    assert tree["schema"] == {
        "path": str(SCHEMA),
        "anomalies": {"event": missing, "rating": missing},
    }
    assert {entry.name for entry in (tmp_path / "report").iterdir()} == {
        "report.html",
        "report.json",
    }


def test_drift_from_statistics(command, logs, tmp_path):
    statistics = tmp_path / "statistics.pbtxt"
    statistics.write_text(
        'datasets { features { path { step: "item_id" } string_stats { rank_histogram { buckets '
        '{ label: "i7" sample_count: 9 } } } } }'
    )
    code, out, _ = command(logs[0], "--schema", SCHEMA, "--against", statistics)
    assert code == 1
    assert re.search("! item_id: the share of 'i7' differs by 0.9.* from the earlier log", out)


def test_the_split_is_that_of_training(command, logs):
    keys = [
        "data.split=temporal",
        "data.valid_from=0.6",
        "data.test_from=0.8",
        "data.min_user_events=3",
        "data.repeats=collapse",
    ]
    tree = json.loads(command(logs[0], "--json", *keys)[1])
    config = configuration.load(
        None,
        ["data.source=file", f"data.path={logs[0]}", "data.max_length=1", "data.targets=1", *keys],
    )
    data = run.prepare_data(config)
    assert (tree["split"], tree["leaks"]) == ("temporal", leak_report(data.split).to_dict())
    assert tree["selection"] == str(data.report.selection)


def test_a_log_that_cannot_be_split_is_still_measured(command, tmp_path):
    path = tmp_path / "short.csv"
    path.write_text("user_id,item_id,timestamp\nu,a,1\nv,a,2\n")
    code, out, _ = command(path, "data.min_user_events=1")
    assert code == 0
    assert (
        "not split  data.split=leave-one-out needs a user with 3 events or more, the longest "
        "history has 1." in out
    )


def test_several_logs_are_one(command, logs):
    both = json.loads(command(*logs, "--json")[1])
    parts = [json.loads(command(path, "--json")[1]) for path in logs]
    assert both["events"] == sum(part["events"] for part in parts)


def test_a_log_without_times(command, logs):
    tree = json.loads(
        command(logs[0], "data.columns.timestamp=null", "--against", logs[1], "--json")[1]
    )
    assert "time" not in tree and "bursts" not in tree
    assert tree["profile"]["time_events"] == []


def test_sources_by_name_and_configuration_files(command, tmp_path):
    path = tmp_path / "some.yaml"
    path.write_text("data: {events: 1500, seed: 3}\n")
    tree = json.loads(command("--config", path, "--json")[1])
    assert (tree["source"], tree["events"]) == ("synthetic", synthetic(1_500, 3).height)


def test_drift_from_a_log_a_report_and_a_folder_is_the_same(command, logs, tmp_path):
    command(logs[0], "--to", tmp_path / "monday")
    trees = []
    for against in (logs[0], tmp_path / "monday", tmp_path / "monday" / "report.json"):
        trees.append(json.loads(command(logs[1], "--against", against, "--json")[1])["drift"])
        assert trees[-1].pop("against") == str(against)
    assert trees[0] == trees[1] == trees[2]
    assert trees[0]["history_length"]["kolmogorov_smirnov"] > 0
    same = json.loads(command(logs[0], "--against", logs[0], "--json")[1])["drift"]
    assert same["popularity"] == pytest.approx(
        {"psi": 0, "jensen_shannon": 0, "events_of_other_items": 0}, abs=1e-9
    )


def test_large_drift_gives_a_warning(command, tmp_path):
    paths = [tmp_path / "a.csv", tmp_path / "b.csv"]
    for path, item in zip(paths, ("a", "b"), strict=True):
        lines = [
            f"u{user},{item}{event},{event}"
            for user in range(20)
            for event in range(4 if item == "a" else 12)
        ]
        path.write_text("\n".join(["user_id,item_id,timestamp", *lines]) + "\n")
    out = command(paths[1], "--against", paths[0])[1]
    assert re.search(
        r"^! The history length has changed: PSI \d+\.\d+ is above 0\.25\.$",
        out,
        flags=re.MULTILINE,
    )
    assert re.search(r"^! The popularity has changed: ", out, flags=re.MULTILINE)


def test_requests_against_vocabularies(command, logs, tmp_path):
    requests = tmp_path / "requests.jsonl"
    requests.write_text(
        '{"user_id": "nobody", "history": ["i1", "nothing"]}\n{"user_id": "u1", "history": '
        '["i2"]}\n'
    )
    tree = json.loads(
        command(logs[0], "--serving-log", requests, "--json", "data.min_user_events=1")[1]
    )
    assert tree["request_log"]["unknown_items"] == {"count": 1, "share": 1 / 3}
    assert tree["request_log"]["unknown_users"]["count"] == 1
    Vocabulary(["i2"]).save(tmp_path / "items.txt")
    tree = json.loads(
        command(
            logs[0], "--serving-log", requests, "--vocabulary", tmp_path / "items.txt", "--json"
        )[1]
    )
    assert tree["request_log"]["unknown_items"]["count"] == 2
    assert "unknown_users" not in tree["request_log"]
    Vocabulary(["u1", "nobody"]).save(tmp_path / "users.txt")
    tree = json.loads(
        command(logs[0], "--serving-log", requests, "--vocabulary", tmp_path, "--json")[1]
    )
    assert tree["request_log"]["unknown_users"]["count"] == 0


def test_the_page_escapes_ids_and_fetches_nothing(command, tmp_path):
    path, requests = tmp_path / "log.csv", tmp_path / "requests.jsonl"
    bad = "<script>alert(1)</script>&amp;"
    path.write_text(
        "user_id,item_id,timestamp\n" + "".join(f"{bad},{bad},{time // 5}\n" for time in range(20))
    )
    requests.write_text(json.dumps({"user_id": bad, "history": [f"{bad}x"]}) + "\n")
    code, _, error = command(
        path, "--serving-log", requests, "--against", path, "--to", tmp_path / "report"
    )
    assert (code, error) == (0, "")
    text = (tmp_path / "report" / "report.html").read_text()
    page = Page(text)
    assert "script" not in page.tags and page.fetched == []
    assert "url(" not in text
    assert set(re.findall('http[^"]*', text)) == {"http://www.w3.org/2000/svg"}  # only a name
    assert any(f"{bad}x (1)" in shown for shown in page.shown)
    # Two curves of both logs, and one of the times.
    assert page.tags.count("svg") == 3 and page.tags.count("polyline") == 3
    assert page.tags.count("rect") == 2 * 5


def test_rejected_lines_are_counted(command, tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("user_id,item_id,timestamp\nu,a,1\nu,,2\nu,b,3\n")
    code, out, _ = command(path, "data.on_error=skip")
    assert (code, out.splitlines()[0]) == (0, "! 1 line could not be read.")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["{folder}/none.csv"],
            "{folder}/none.csv does not exist: data.path must be a file, a folder of parts or a "
            "pattern.",
        ),
        (
            ["{log}", "train.epochs=3"],
            "Expected log files and data.key=value on the command line but got 'train.epochs=3'.",
        ),
        (
            ["{log}", "data.splitt=temporal"],
            "Unknown configuration key data.splitt; did you mean data.split?",
        ),
        (
            ["{log}", "data.split=temporal"],
            "data.split=temporal needs data.test_from and data.valid_from, got no bounds.",
        ),
        (
            ["{folder}/none.csv", "--schema", "{folder}/none.pbtxt"],
            "{folder}/none.pbtxt is not a file: expected a schema that tfrec_attn.data.validate "
            "wrote.",
        ),
        (
            ["{log}", "--schema", "{folder}/bad.json"],
            "{folder}/bad.json does not hold a schema as tfrec_attn.data.validate writes it (1:1 : "
            'Message type "tensorflow.metadata.v0.Schema" has no field named "bad").',
        ),
        (
            ["{log}", "--against", "s.pb"],
            f"--against with statistics and without --schema cannot be used: {tfdv.HOW_TO_GET_IT}.",
        ),
        (
            ["{log}", "--against", "{folder}"],
            "{folder}/report.json cannot be read: No such file or directory.",
        ),
        (
            ["{log}", "--against", "{folder}/bad.json"],
            "{folder}/bad.json is not JSON (Expecting value: line 1 column 1 (char 0)).",
        ),
        (["{log}", "--to", "{folder}"], "--to {folder} exists; name a new folder, or remove it."),
        (
            ["{folder}/no.csv", "--to", "{folder}/bad.json/x"],
            "--to {folder}/bad.json/x cannot be written: {folder}/bad.json is no writable "
            "folder; name another folder.",
        ),
        (
            ["{log}", "--serving-log", "{log}", "--vocabulary", "{folder}/none.txt"],
            "{folder}/none.txt cannot be read: No such file or directory.",
        ),
    ],
)
def test_refusals(command, logs, tmp_path, arguments, message):
    (tmp_path / "bad.json").write_text("bad")
    names = {"folder": tmp_path, "log": logs[0]}
    to = [] if "--to" in arguments else ["--to", tmp_path / "to"]
    code, out, error = command(*(argument.format(**names) for argument in arguments), *to)
    assert (code, out, error) == (2, "", f"error: {message.format(**names)}\n")
    assert {entry.name for entry in tmp_path.iterdir()} == {"bad.json"}


def test_a_foreign_folder_with_the_name_of_unfinished_work_stays(command, logs, tmp_path):
    (tmp_path / "to.partial").mkdir()
    (tmp_path / "to.partial" / "report.json").write_text("mine")
    assert command(logs[0], "--to", tmp_path / "to")[0] == 0
    assert (tmp_path / "to.partial" / "report.json").read_text() == "mine"
    assert {entry.name for entry in tmp_path.iterdir()} == {"to", "to.partial"}
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    assert (
        command(logs[0], "--to", tmp_path / "link")[2]
        == f"error: --to {tmp_path / 'link'} exists; name a new folder, or remove it.\n"
    )


def test_a_tensorflow_metadata_that_does_not_fit(monkeypatch, tmp_path):
    """As with protobuf 4, which TensorFlow 2.16 needs, and tensorflow-metadata 1.21."""
    for name in [one for one in sys.modules if one.startswith("tfrec_attn.data.quality")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorflow_metadata.proto.v0.schema_pb2", None)
    (tmp_path / "log.csv").write_text("user_id,item_id,timestamp\nu,i,1\n")
    assert_refused(
        run_command(validate.main, tmp_path / "log.csv"),
        2,
        "tensorflow-metadata cannot be loaded (",
        "); with TensorFlow 2.17 or older, install tensorflow-metadata==1.17.3.",
    )
