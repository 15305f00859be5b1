"""The web page: its source, and its behaviour in headless Chromium."""

import functools
import json
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest

from serving.clients.rest_client import RestClient
from tests.serving.server.browser import Browser

PAGE = Path(__file__).resolve().parents[3] / "serving" / "server" / "page" / "index.html"
SOURCE = PAGE.read_text(encoding="utf-8")
CHROMIUM = next(
    (
        found
        for name in ("chromium", "chromium-browser", "google-chrome")
        if (found := shutil.which(name))
    ),
    None,
)
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="there is no Chromium: apt-get install chromium"
)
VOID = {"meta", "link", "input", "br", "hr", "img"}


class Tree(HTMLParser):
    """Start tags in their order, and whether every tag is closed."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self._open = [], []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def named(self, *names):
        return [attributes for tag, attributes in self.tags if tag in names]


TREE = Tree(SOURCE)


def test_nothing_comes_from_elsewhere():
    assert not re.search(r"(https?:)?//[a-z0-9]", SOURCE, re.IGNORECASE)
    assert not re.search(
        r"@import|url\(|\bimport\b|eval\(|innerHTML|outerHTML|insertAdjacentHTML|document\.write|localStorage|cookie",
        SOURCE,
    )
    assert not TREE.named("img", "iframe", "object", "embed", "base")
    assert all("src" not in attributes for attributes in TREE.named("script"))
    assert [attributes["href"] for attributes in TREE.named("link")] == ["data:,"]


def test_every_field_has_a_label_and_every_label_a_field():
    fields = [attributes["id"] for attributes in TREE.named("input", "select", "textarea")]
    assert (
        sorted(fields) == sorted(attributes["for"] for attributes in TREE.named("label"))
        and len(fields) >= 5
    )


def test_ids_are_distinct_and_referred_to():
    ids = [attributes["id"] for _, attributes in TREE.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    referred = [
        attributes[key]
        for _, attributes in TREE.tags
        for key in ("aria-labelledby", "aria-describedby")
        if key in attributes
    ]
    assert set(referred) | set(re.findall(r'at\("([^"]+)"\)', SOURCE)) <= set(ids)


def test_it_can_be_used_without_a_mouse():
    assert (
        TREE.named("html")[0]["lang"] == "en"
        and len(TREE.named("main")) == len(TREE.named("h1")) == 1
    )
    assert not re.search(r"tabindex|outline:\s*(0|none)|ondblclick|onmouse", SOURCE)
    assert all(
        attributes.get("type") in ("submit", "button") for attributes in TREE.named("button")
    )
    assert {"alert", "status"} <= {attributes.get("role") for _, attributes in TREE.tags}
    # Elements that are made later and can be clicked are buttons or boxes.
    assert set(re.findall(r'element\("(\w+)", \{[^}]*\bon(?:click|change):', SOURCE)) == {
        "button",
        "input",
    }


def luminance(colour):
    """Luminance by WCAG of #rgb or #rrggbb."""
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


def test_contrast_in_light_and_in_dark():
    assert contrast("#000", "#ffffff") == pytest.approx(21)
    blocks = re.findall(r":root \{([^}]*)\}", SOURCE)
    assert len(blocks) == 2
    for block in blocks:
        colours = dict(re.findall(r"--(\w+): (#[0-9a-f]+);", block))
        for name, least in (
            ("text", 7),
            ("faint", 4.5),
            ("up", 4.5),
            ("down", 4.5),
            ("line", 3),
            ("focus", 3),
        ):
            assert contrast(colours[name], colours["back"]) >= least, name


def test_the_script_parses(tmp_path):
    node = shutil.which("node")
    if node is None:
        pytest.skip("there is no node")
    (script,) = re.findall(r"<script>(.*?)</script>", SOURCE, re.DOTALL)
    (tmp_path / "page.js").write_text(script)
    result = subprocess.run(
        [node, "--check", str(tmp_path / "page.js")], capture_output=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stderr.decode()


# What tests do in the page: wait for responses, act as a user, and look.
TOOLS = """
const until = async (ready) => {
  const end = performance.now() + 20000;
  while (!(document.body && ready())) {
    if (performance.now() > end) throw new Error("the page has no answer");
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
};
const turn = () => Number(document.body.dataset.turn || 0);
const settled = async (work) => {
  const before = turn();
  await work();
  await until(() => turn() > before);
};
const cells = (row) => [...row.cells].map((cell) => cell.innerText.trim());
const rows = (id) => [...document.querySelectorAll("#" + id + " tbody tr")].map(cells);
const shown = (id) => document.getElementById(id).innerText;
const keyed = (key) =>
  [...document.querySelectorAll("[data-key]")].find((one) => one.dataset.key === key);
const click = (key) => settled(() => keyed(key).click());
"""


def within(script):
    return f"(async () => {{ {TOOLS} {script} }})()"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    profile = tmp_path_factory.mktemp("chromium")
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        f"--user-data-dir={profile}",
    ]
    browser = Browser([CHROMIUM, *options], {**os.environ, "HOME": str(profile)})
    yield browser
    browser.close()


@pytest.fixture
def browse(browser, server):
    """A function that opens the page with a query and runs a script after the first response."""

    def open_page(script, **query):
        browser.open(
            f"http://127.0.0.1:{server.rest_port}/?{urlencode(query, doseq=True, quote_via=quote)}"
        )
        return browser.ask(within(f"await until(() => turn() >= 1); {script}"))

    return open_page


@pytest.fixture(scope="module")
def client(server):
    with RestClient(f"http://127.0.0.1:{server.rest_port}", "sasrec", timeout=20) as client:
        yield client


@functools.cache
def four_digits(value):
    """Formats a number as toPrecision(4) of JavaScript."""
    text = f"{value:.4g}"
    return "0" if value == 0 else f"{value:#.4g}" if "e" not in text else text


@needs_chromium
def test_recommendations_are_those_of_the_client(browse, client, run):
    items = (run / "vocabulary" / "items.txt").read_text().split("\n")[:3]
    expected = client.recommend(items, k=5)
    seen = browse(
        "return {rows: rows('answer'), note: shown('note'), problem: shown('problem')};",
        history=items,
        k=5,
    )
    assert [row[1] for row in seen["rows"]] == expected.items and [
        row[0] for row in seen["rows"]
    ] == list("12345")
    assert [float(row[2]) for row in seen["rows"]] == pytest.approx(expected.scores, rel=1e-3)
    assert seen["note"].startswith("5 items for 3 of 3 in the history.") and seen["problem"] == ""


@needs_chromium
def test_typing_a_history_and_picking_popular_items(browse, client, run):
    items = (run / "vocabulary" / "items.txt").read_text().split("\n")[:2]
    popular = client.recommend([], k=10).items
    assert client.recommend([], k=1).source == "popular"
    seen = browse(
        f"""
        await until(() => document.querySelector("#popular button"));
        const buttons = [...document.querySelectorAll("#popular button")];
        const start = [shown("note"), buttons.map((one) => one.textContent)];
        document.getElementById("items").value = {json.dumps(" , ".join(items))};
        await settled(() => document.getElementById("more").requestSubmit());
        await settled(() => document.querySelector("#popular button").click());
        const typed = rows("history").map((row) => row[0]);
        await click("remove 0");
        const one = rows("history").map((row) => row[0]);
        await settled(() => document.getElementById("clear").click());
        const hidden = document.getElementById("history").hidden;
        return {{start, typed, one, last: rows("history"), hidden}};
        """
    )
    assert "the most popular items" in seen["start"][0] and seen["start"][1] == popular
    assert seen["typed"] == [*items, popular[0]] and seen["one"] == [items[1], popular[0]]
    assert seen["last"] == [] and seen["hidden"] is True


@needs_chromium
def test_why_an_item_is_there(browse, client, run):
    items = (run / "vocabulary" / "items.txt").read_text().split("\n")[3:6]
    first = client.recommend(items, k=5).items[0]
    expected = client.explain(items, first)
    seen = browse(
        f"""
        await click({json.dumps("why " + first)});
        const spans = [...document.querySelectorAll(".bar.both span")];
        return {{rows: rows("history"),
          caption: document.querySelector("#history caption").innerText,
          bars: spans.map(({{ style }}) => [parseFloat(style.left), parseFloat(style.width)]),
          pressed: document.querySelector("#answer [aria-pressed=true]").innerText,
          focus: location.search}};
        """,
        history=items,
        k=5,
    )
    assert seen["pressed"] == first and first in seen["caption"]
    assert [float(row[2]) for row in seen["rows"]] == pytest.approx(
        expected.contribution, rel=1e-3, abs=1e-6
    )
    assert expected.attention is not None and [
        float(row[4]) for row in seen["rows"]
    ] == pytest.approx(expected.attention, rel=1e-3, abs=1e-6)
    most = max(map(abs, expected.contribution))
    for (left, width), value in zip(seen["bars"], expected.contribution, strict=True):
        assert width == pytest.approx(50 * abs(value) / most, abs=0.01) and left == pytest.approx(
            50 - width if value < 0 else 50, abs=0.01
        )
    assert f"why={quote(first)}" in seen["focus"].replace("+", "%20")


@needs_chromium
def test_what_changes_when_an_item_is_left_out(browse, client, run):
    items = (run / "vocabulary" / "items.txt").read_text().split("\n")[6:10]
    before, after = client.recommend(items, k=8).items, client.recommend(items[:3], k=8).items
    seen = browse(
        """
        await click("use 3");
        const out = {rows: rows("answer"), gone: shown("gone"), history: rows("history").length,
          focus: document.activeElement.dataset.key};
        await click("use 3");
        const back = rows("answer").map((row) => row[1]);
        return {...out, back, columns: rows("answer")[0].length};
        """,
        history=items,
        k=8,
    )
    assert (
        [row[1] for row in seen["rows"]] == after
        and seen["history"] == 4
        and seen["back"] == before
        and seen["columns"] == 4
    )
    for place, row in enumerate(seen["rows"]):
        was = before.index(row[1]) if row[1] in before else None
        change = (
            "new"
            if was is None
            else "same"
            if was == place
            else f"▲ up {was - place}"
            if was > place
            else f"▼ down {place - was}"
        )
        assert row[3] == change
    gone = [item for item in before if item not in after]
    assert seen["gone"] == (f"No longer among the first 8: {', '.join(gone)}." if gone else "")


@needs_chromium
def test_an_address_shows_the_same_again(browse, client, run):
    items = (run / "vocabulary" / "items.txt").read_text().split("\n")[:2]
    seen = browse(
        "return {search: location.search, history: rows('history'), "
        "k: document.getElementById('k').value};",
        history=items[:1],
        without=items[1:],
        k=3,
    )
    assert seen["k"] == "3" and [row[0] for row in seen["history"]] == items
    assert seen["search"] == "?" + urlencode(
        [("model", "sasrec"), ("k", "3"), ("history", items[0]), ("without", items[1])]
    )


@needs_chromium
def test_that_there_are_no_more_is_told(browse):
    seen = browse("return {note: shown('note'), rows: rows('answer').length};", k=500)
    assert seen["rows"] == 20 and seen["note"].endswith(" The model gives at most 20.")
    assert "at most" not in browse("return shown('note');", k=20)


@needs_chromium
def test_errors_are_shown_and_the_next_request_is_answered(browse):
    seen = browse(
        """
        const problem = shown("problem");
        document.getElementById("version").value = "stable";
        await settled(() => document.getElementById("request").requestSubmit());
        return {problem, after: shown("problem"), rows: rows("answer").length};
        """,
        version="nothing",
        k=4,
    )
    assert "nothing" in seen["problem"] and seen["after"] == "" and seen["rows"] == 4


@needs_chromium
def test_ids_are_text_and_nothing_else(browse):
    awkward = ["<b id=x>bold</b>", "日本語", 'say "hi"', "a,b"]
    seen = browse(
        "return {rows: rows('history').map((row) => row[0]), "
        "bold: document.querySelectorAll('#x, b').length};",
        history=awkward,
    )
    assert seen == {"rows": awkward, "bold": 0}


@needs_chromium
def test_titles_stand_for_ids(browse, client, run):
    # The items of the served model have no titles, so these come from a stand-in of the server.
    items = (run / "vocabulary" / "items.txt").read_text().split("\n")[:2]
    seen = browse(
        """
        await until(() => document.querySelector("#popular button"));
        const real = fetch;
        fetch = async (path, options) => {
          const asked = JSON.parse(options.body);
          if (asked.signature_name !== "describe_joined") return real(path, options);
          const ids = asked.instances[0].candidates.split("\\t");
          const description = ids.map((id) => JSON.stringify({ title: "<b>" + id + "</b>" }));
          return new Response(JSON.stringify({ predictions: [{ description, separator: "\\t" }] }));
        };
        state.titles.clear();
        await settled(() => document.getElementById("request").requestSubmit());
        const buttons = [...document.querySelectorAll("#answer [aria-pressed]")];
        return {history: rows("history").map((row) => row[0]),
          answer: rows("answer").map((row) => row[1]), ids: buttons.map((one) => one.title)};
        """,
        history=items,
        k=3,
    )
    expected = client.recommend(items, k=3).items
    assert seen["ids"] == expected
    assert seen["answer"] == [f"<b>{item}</b>" for item in expected]
    assert seen["history"] == [f"<b>{item}</b>" for item in items]


FOCUS = (
    "((one) => [one.id || one.dataset.key || one.textContent, "
    "getComputedStyle(one).outlineStyle])(document.activeElement)"
)


@needs_chromium
def test_the_keyboard_alone(browser, browse, run):
    items = (run / "vocabulary" / "items.txt").read_text().split("\n")[:2]

    def tab_to(name):
        for _ in range(60):
            browser.press("Tab")
            found, outline = browser.ask(FOCUS)
            assert outline == "solid", found
            if re.fullmatch(name, found):
                return
        pytest.fail(f"the tabulator does not reach {name}")

    browse("await until(() => document.querySelector('#popular button'));", k=3)
    for name in ("model", "version", "user", "k", "Recommend", "items"):
        tab_to(name)
    browser.type(",".join(items))
    tab_to("Add")
    browser.press("Enter")
    browser.ask(within("await until(() => turn() >= 2);"))
    tab_to("use 0")
    tab_to("why .*")
    browser.press("Enter")
    browser.ask(within("await until(() => turn() >= 3);"))
    assert browser.ask(FOCUS)[0].startswith("why ")
    assert browser.ask("document.querySelectorAll('.bar').length") == 4
    browser.ask("document.getElementById('clear').focus()")
    tab_to("use 1")
    browser.press(" ")
    browser.ask(within("await until(() => turn() >= 4);"))
    assert browser.ask(FOCUS)[0] == "use 1"
    assert browser.ask("document.getElementById('note').textContent").startswith(
        "3 items for 1 of 2"
    )
