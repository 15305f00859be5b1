"""The report of finished runs: its figures, its texts, and what it refuses."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest

from tests.commands import TINY, assert_refused, run_command
from tfrec_attn import models, report, train
from tfrec_attn.config import Config, load
from tfrec_attn.config.loading import with_values
from tfrec_attn.files.checksums import SUMS
from tfrec_attn.pages.charts import Bar, bars, heat_map, lines
from tfrec_attn.pages.elements import document, element, table
from tfrec_attn.runs.run_files import METRICS, RANKS, write_json
from tfrec_attn.studies.report.report import _names
from tfrec_attn.studies.report.run_findings import popularity_shares
from tfrec_attn.training.evaluating import is_baseline

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
# Ids that would be elements if they were not escaped.
NASTY = "<script>alert(1)</script>"


class Page(HTMLParser):
    """The tables, the tags and the text of a page."""

    def __init__(self, text):
        super().__init__()
        self.tables, self.tags, self.words = [], set(), []
        self._in_cell = False
        self.feed(text)
        self.text = " ".join("".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self._in_cell = True
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag):
        self._in_cell &= tag not in ("td", "th")

    def handle_data(self, data):
        self.words.append(data)
        if self._in_cell:
            self.tables[-1][-1][-1] += data

    def table(self, first):
        """The table whose header begins with these names."""
        return next(one for one in self.tables if one[0][: len(first)] == first)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A log with an item and a user of hostile names, and two runs on it."""
    folder = tmp_path_factory.mktemp("report")
    random = np.random.default_rng(5)
    rows = ["user_id,item_id,timestamp"]
    for user in range(40):
        name = NASTY if user == 7 else f"u{user}"
        start = random.integers(30)
        for time in range(8):
            item = (start + time * (1 + user % 2)) % 30
            rows.append(f"{name},{NASTY if item == 3 else f'i{item}'},{100 * user + time}")
    (folder / "log.csv").write_text("\n".join(rows) + "\n")
    for name, more in {
        "mqsa": ["model.name=mqsa_ted", *TINY, "prior.weight=0.5", "train.loss=softmax"],
        "pop": ["model.name=pop"],
    }.items():
        log = ["data.source=file", f"data.path={folder / 'log.csv'}", f"run_dir={folder / name}"]
        assert run_command(train.main, *more, *log)[0] == 0
    return folder


@pytest.fixture(scope="module")
def page(folder):
    """The report of both runs."""
    to = folder / "both.html"
    code, out, error = run_command(report.main, folder / "mqsa", folder / "pop", "--to", to)
    assert (code, out, error) == (0, f"Wrote {to}\n", "")
    return Page(to.read_text())


def test_figures_are_those_of_the_runs(folder, page):
    for name, label in (("mqsa", "mqsa_ted + prior"), ("pop", "pop")):
        test = json.loads((folder / name / METRICS).read_text())["test"]
        (row,) = [row for row in page.table(["run", "difference"]) if row[0] == label]
        assert row[4:] == [f"{value:.4f}" for value in test.values()]
    metrics = json.loads((folder / "mqsa" / METRICS).read_text())
    low, high = metrics["test_interval"]["NDCG@10"]
    assert f"({low:.4f} to {high:.4f})" in page.text
    assert f"The dashed line is the best epoch by validation, {metrics['best_epoch']}." in page.text
    found = {row[0]: row[1:] for row in page.table(["model", "HR@5"])[1:]}
    assert list(found) == [
        *("pop", "transition", "decayed_transitions", "mqsa_ted", "mqsa_ted + prior"),
        *("95 % from", "95 % to"),
    ]
    for label, values in (
        ("mqsa_ted", metrics["prior"]["test_alone"]),
        ("mqsa_ted + prior", metrics["test"]),
        ("decayed_transitions", metrics["baselines"]["decayed_transitions"]),
    ):
        assert found[label] == [f"{value:.4f}" for value in values.values()]


def test_names_of_runs(tmp_path):
    def names(*runs):
        return _names(
            [
                SimpleNamespace(
                    model=model,
                    folder=tmp_path / folder,
                    config=with_values(Config(), {"train.seed": seed}),
                )
                for model, seed, folder in runs
            ]
        )

    assert names(("a", 1, "x"), ("b", 1, "y")) == ["a", "b"]
    assert names(("a", 1, "x"), ("b", 2, "y")) == ["a, seed 1", "b, seed 2"]
    assert names(("a", 1, "r/x"), ("a", 2, "r/y")) == ["a, x", "a, y"]


def test_parts_of_the_page(folder, page):
    """Slices add up to all test events, and a model with two streams shows both."""
    slices = [one for one in page.tables if one[0][1] == "events"]
    assert slices and all(sum(int(row[1]) for row in one[1:]) == 40 for one in slices)
    assert "short queries" in page.text and "long queries" in page.text
    assert re.search(r"short queries, from 0 to [01]", page.text)
    assert "loss" in page.text and "validation MRR" in page.text
    assert re.search(r"split leave-one-out; protocol [0-9a-f]{16}", page.text)
    environment = dict(row[:2] for row in page.table(["figure", "value"]) if len(row) == 2)
    assert environment
    # A counting model has no learned neighbours and no curves.
    alone = Page(make(folder, "pop"))
    assert "nearest by the learned vectors" not in alone.text and "figure" not in alone.tags
    assert "Side by side" not in alone.text
    # A run that is a baseline itself is not compared with itself.
    rows = [row[0] for row in alone.table(["model", "HR@5"])[1:]]
    assert rows[:3] == ["transition", "decayed_transitions", "pop"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["model.name=decayed_transitions"], True),
        (["model.name=decayed_transitions", "model.neighbours=200"], True),
        (["model.name=decayed_transitions", "model.neighbours=100"], False),
        (["model.name=transition", "data.max_length=49"], False),
        (["model.name=pop", "data.max_length=49"], True),
        (["model.name=item_knn"], False),
    ],
)
def test_runs_that_are_a_baseline(given, expected):
    """The baselines have 200 neighbours and histories of 50 events."""
    assert is_baseline(load(None, given, models.recommended)) == expected


def make(folder, *arguments):
    to = folder / "one.html"
    first, *rest = arguments
    assert run_command(report.main, folder / first, *rest, "--to", to)[0] == 0
    return to.read_text()


def test_names_are_texts(folder, page):
    """Names from the log make no elements, and the page loads nothing."""
    text = make(folder, "mqsa", "--user", NASTY, "--user", "u1")
    found = Page(text)
    assert not {"script", "img", "link", "iframe"} & (page.tags | found.tags)
    assert f"User {NASTY}:" in found.text and "User u1:" in found.text
    assert "<bdi>u2</bdi>" not in text and "<bdi>u1</bdi>" in text
    assert not re.search(r"(?:src|href)=(?!\"#)|url\(|@import", text)


def test_bad_input(folder, tmp_path):
    def refused(code, *pieces, runs=("pop",), more=()):
        arguments = [*(folder / run for run in runs), "--to", tmp_path / "x.html", *more]
        assert_refused(run_command(report.main, *arguments), code, *pieces)
        assert not (tmp_path / "x.html").exists()

    refused(2, "is not a finished run", runs=["nothing"])
    refused(2, "Each run must be given once", runs=["pop", "pop"])
    refused(2, "--user must be a user with a test event", "is not in the log", more=["--user=x"])
    other = tmp_path / "other"
    log = ["data.source=file", f"data.path={folder / 'log.csv'}", "evaluate.k=10"]
    assert run_command(train.main, *log, "model.name=pop", f"run_dir={other}")[0] == 0
    refused(2, "another protocol", "k is", "give runs of the same log", runs=["pop", other])
    # The file is checked before anything is read.
    result = run_command(report.main, folder / "nothing", "--to", tmp_path / "no" / "x.html")
    assert_refused(result, 2, f"there is no folder {tmp_path / 'no'}; make it, or name another")
    mine = tmp_path / "mine.html"
    for text in ("my notes", "<!doctype html>\n<html></html>\n"):
        mine.write_text(text)
        result = run_command(report.main, folder / "pop", "--to", mine)
        assert_refused(result, 2, "is not an earlier")
        assert mine.read_text() == text


def test_a_run_that_was_edited(folder, tmp_path):
    """A run without checksums, which would tell."""
    run = tmp_path / "run"
    shutil.copytree(folder / "pop", run)
    (run / SUMS).unlink()
    report_of_run = json.loads((run / METRICS).read_text())
    for change in ({"data": {**report_of_run["data"], "after": {}}}, {"parameters": None}):
        write_json(run / METRICS, {**report_of_run, **change})
        result = run_command(report.main, run, "--to", tmp_path / "x.html")
        assert_refused(result, 2, f"{run / METRICS} does not hold what a training writes")
    write_json(run / METRICS, report_of_run)
    np.savez(run / RANKS, valid=np.ones(3, np.int32), test=np.ones(3, np.int32))
    result = run_command(report.main, run, "--to", tmp_path / "x.html")
    assert_refused(result, 2, f"{run / RANKS} must have ranks of 40 test events, but has 3")


def test_a_log_that_has_changed(folder, tmp_path):
    shutil.copyfile(folder / "log.csv", tmp_path / "log.csv")
    run = tmp_path / "run"
    log = ["data.source=file", f"data.path={tmp_path / 'log.csv'}", "model.name=pop"]
    assert run_command(train.main, *log, f"run_dir={run}")[0] == 0
    with open(tmp_path / "log.csv", "a") as stream:
        stream.write("u1,i29,99999\n")
    result = run_command(report.main, run, "--to", tmp_path / "x.html")
    assert_refused(result, 2, f"The log of {run} has changed", "restore them")


def test_shares_by_popularity():
    # Items of 6, 2, 1 and 1 events lie at 0-6, 6-8, 8-9 and 9-10 of 10 events, with their middles
    # at 3, 7, 8.5 and 9.5: in two groups, the first holds item 2 only, by the order of popularity.
    counts = np.array([2, 6, 1, 1])
    lists = np.array([[2, 1], [2, 3], [2, 0]])
    assert popularity_shares(lists, counts, groups=2) == pytest.approx([3 / 5, 2 / 5])
    assert popularity_shares(np.zeros((2, 2), int), counts, groups=2) == [0, 0]


def test_charts():
    chart = bars([Bar("a", 2.0, [1.0, 4.0]), Bar("b", 1.0, is_run=False)], "two")
    first, second = (one for one in chart if one.tag == "rect")
    assert float(first.get("width")) == pytest.approx(2 * float(second.get("width")))
    assert second.get("class") == "bar" and first.get("class") == "bar run"
    # Its largest value is at the top, and its last one at the right.
    curve = next(one for one in lines({"x": [3.0, 1.0, 2.0]}, "curve") if one.tag == "polyline")
    points = [tuple(map(float, one.split(","))) for one in curve.get("points").split()]
    assert [y for _, y in points] == [12, 190, 101] and points[2][0] > points[1][0] > points[0][0]
    cells = heat_map(np.array([[1.0, 4.0]]), ["r"], ["a", "b"], "map")
    assert [one.get("fill-opacity") for one in cells if one.tag == "rect"] == ["0.250", "1.000"]
    # The scale has the same colours, and the numbers of its ends.
    (scale,) = [one for one in cells if one.tag == "g"]
    shades = [one.get("fill-opacity") for one in scale if one.get("class") == "cell"]
    assert [float(one) for one in shades] == [0, 0.25, 0.5, 0.75, 1]
    assert [one.text for one in scale if one.tag == "text"] == ["0", "4"]
    zeros = heat_map(np.zeros((1, 2)), ["r"], ["a", "b"], "map")
    assert [one.get("fill-opacity") for one in zeros if one.tag == "rect"] == ["0.000"] * 2
    assert not [one for one in zeros if one.tag == "g"]


LONG = "decayed_transitions, comparisons/shop-with-a-long-name/decayed_transitions/seed-"


def test_long_names_stand_above_their_bars():
    chart = list(bars([Bar(f"{LONG}1", 2.0), Bar("pop", 1.0)], "two"))
    names = [one for one in chart if one.tag == "text" and one.get("x") == "0"]
    # 480 units have room for 60 letters of 8; paths differ at their ends.
    assert [one.text for one in names] == [f"…{LONG[-58:]}1", "pop"]
    rects = [one for one in chart if one.tag == "rect"]
    assert [one.get("x") for one in rects] == ["0", "0"]
    for name, rect, above in zip(names, rects, [None, rects[0]], strict=True):
        assert float(name.get("y")) < float(rect.get("y"))
        if above is not None:
            end = float(above.get("y")) + float(above.get("height"))
            assert float(name.get("y")) - 13 >= end


def test_the_best_epoch_is_marked():
    """The line is at the first of three values, the largest one; epochs count from 1."""
    chart = list(lines({"x": [3.0, 1.0, 2.0]}, "curve", mark=0))
    (line,) = [one for one in chart if one.get("class") == "mark"]
    (curve,) = [one for one in chart if one.tag == "polyline"]
    assert line.get("d").startswith(f"M{curve.get('points').partition(',')[0]} ")
    assert {"1", "3"} <= {one.text for one in chart if one.tag == "text"}


def test_elements():
    text = document("a < b", "<!doctype html>", element("p", "x & y", element("b", "<z>"), " end"))
    assert "<title>a &lt; b</title>" in text and "<p>x &amp; y<b>&lt;z&gt;</b> end</p>" in text
    found = Page(document("t", "<!doctype html>", table(["n", "v"], [["a", "1"]], "of a")))
    assert found.tables == [[["n", "v"], ["a", "1"]]] and "of a" in found.text


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium: apt-get install chromium")
def test_in_a_browser(folder, page, tmp_path):
    """It has nothing for the console, and the browser finds the same tables."""
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
    options += [f"--user-data-dir={tmp_path}", "--dump-dom", (folder / "both.html").as_uri()]
    done = subprocess.run([CHROMIUM, *options], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "CONSOLE" not in done.stderr
    assert Page(done.stdout).tables == page.tables


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium: apt-get install chromium")
def test_no_text_of_a_chart_is_clipped(tmp_path):
    charts = [
        bars([Bar(name, 2.0, [1.0, 4.0]), Bar("pop", 1.0)], "two")
        for name in ("decayed_transitions", "decayed_transitions (default)", f"{LONG}1")
    ]
    charts.append(heat_map(np.array([[0.123]]), ["r"], ["c"], "map"))
    script = element(
        "script",
        "document.title = [...document.querySelectorAll('text')].map(one => {"
        "const box = one.getBoundingClientRect();"
        "const all = one.ownerSVGElement.getBoundingClientRect();"
        "return box.left >= all.left && box.right <= all.right && box.bottom <= all.bottom + 1;})",
    )
    path = tmp_path / "charts.html"
    path.write_text(document("charts", "<!doctype html>", *charts, script))
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}"]
    done = subprocess.run(
        [CHROMIUM, *options, "--window-size=500,900", "--dump-dom", path.as_uri()],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    (found,) = re.findall("<title>([^<]*)</title>", done.stdout.partition("<style>")[0])
    assert found.split(",") == ["true"] * (3 * 4 + 4)
