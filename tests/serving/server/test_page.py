"""The web page: its source, and its behaviour in headless Chromium."""

import json
import os
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote, urlencode

import numpy as np
import pytest

from serving.clients.rest_client import RestClient
from tests.serving.server.browser import Browser

PAGE = Path(__file__).resolve().parents[3] / "serving" / "server" / "page"
FILES = {path.name: path.read_text(encoding="utf-8") for path in sorted(PAGE.iterdir())}
SCRIPTS = {name: text for name, text in FILES.items() if name.endswith(".js")}
HTML, SCRIPT = FILES["index.html"], "\n".join(SCRIPTS.values())
SOURCE = "\n".join(FILES.values())
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


TREE = Tree(HTML)


def test_nothing_comes_from_elsewhere():
    own = {f"/page/{name}" for name in FILES}
    assert not re.search(r"(https?:)?//[a-z0-9]", SOURCE, re.IGNORECASE)
    assert not re.search(
        r"@import|url\(|\bimport\(|eval\(|innerHTML|outerHTML|insertAdjacentHTML|document\.write|localStorage|cookie",
        SOURCE,
    )
    assert not TREE.named("img", "iframe", "object", "embed", "base", "style")
    assert {attributes["src"] for attributes in TREE.named("script")} <= own
    assert {attributes["href"] for attributes in TREE.named("link")} <= {"data:,", *own}
    assert {f"/page/{name}" for name in re.findall(r'from "\./([^"]+)"', SCRIPT)} <= own
    assert len(re.findall(r"^import ", SCRIPT, re.M)) == len(re.findall(r'from "\./', SCRIPT))


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
        for key in ("aria-labelledby", "aria-describedby", "aria-controls")
        if key in attributes
    ]
    asked = set(re.findall(r'at\("([^"]+)"\)', SCRIPT))
    assert len(asked) > 10 and set(referred) | asked <= set(ids)


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
    made = re.findall(r'element\("(\w+)", \{[^}]*\bon(?:click|change)\b', SCRIPT)
    assert set(made) == {"button", "input"}


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


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_is_short_and_says_what_it_is(name):
    lines = SCRIPTS[name].splitlines()
    assert lines[0].startswith("// ") and len(lines) < 200
    assert max(map(len, lines)) <= 100


# What tests do in the page: wait for responses, act as a user, and look.
TOOLS = """
const until = async (ready) => {
  const end = performance.now() + 20000;
  while (!(document.body && ready())) {
    if (performance.now() > end) {
      throw new Error("the page has no answer: " + document.body.innerText.slice(0, 500));
    }
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
const why = (item) => click("why answer" + item);
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


def opener(browser, server):
    """A function that opens the page with a query and runs a script after the first response."""

    def open_page(script, **query):
        browser.open(
            f"http://127.0.0.1:{server.rest_port}/?{urlencode(query, doseq=True, quote_via=quote)}"
        )
        return browser.ask(within(f"await until(() => turn() >= 1); {script}"))

    return open_page


@pytest.fixture
def browse(browser, server):
    """Opens the page of a server of one version, whose items have no titles."""
    browser.problems.clear()
    yield opener(browser, server)
    # A refused request is a message on the page, and in the console.
    assert [
        one for one in browser.problems if "the server responded with a status" not in one
    ] == []


@pytest.fixture
def browse_shop(browser, shop):
    """Opens the page of a server of two versions, with titles and histories."""
    browser.problems.clear()
    yield opener(browser, shop)
    assert browser.problems == []


@pytest.fixture(scope="module")
def client(server):
    with RestClient(f"http://127.0.0.1:{server.rest_port}", "sasrec", timeout=20) as client:
        yield client


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
        await why({json.dumps(first)});
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
    assert [float(row[1]) for row in seen["rows"]] == pytest.approx(
        expected.contribution, rel=1e-3, abs=1e-6
    )
    assert expected.attention is not None and [
        float(row[2]) for row in seen["rows"]
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
        const gone = document.querySelector(".gone").innerText;
        const out = {gone, rows: rows("answer"), history: rows("history").length,
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
        const problem = shown("problem"), model = document.getElementById("model");
        model.value = "sasrec:stable";
        await settled(() => document.getElementById("request").requestSubmit());
        return {problem, after: shown("problem"), rows: rows("answer").length,
          models: [...model.options].map((one) => one.textContent)};
        """,
        model="sasrec:nothing",
        k=4,
    )
    assert "nothing" in seen["problem"] and seen["after"] == "" and seen["rows"] == 4
    assert seen["models"] == ["sasrec", "sasrec:stable (version 1)", "sasrec:nothing"]


@needs_chromium
def test_ids_are_text_and_nothing_else(browse):
    awkward = ["<b id=x>bold</b>", "日本語", 'say "hi"', "a,b"]
    seen = browse(
        "return {rows: rows('history').map((row) => row[0]), "
        "bold: document.querySelectorAll('#x, b').length};",
        history=awkward,
    )
    assert seen == {"rows": awkward, "bold": 0}


TITLES = (
    "[...document.querySelectorAll('#found li')]"
    ".map((one) => [one.dataset.item, one.firstChild.textContent])"
)


@needs_chromium
def test_titles_stand_for_ids(browse_shop, shop, items):
    seen = browse_shop(
        """
        const buttons = [...document.querySelectorAll("#answer [aria-pressed]")];
        return {history: rows("history").map((row) => row[0]), ids: buttons.map((one) => one.title),
          answer: rows("answer").map((row) => row[1]), bold: document.querySelectorAll("b").length};
        """,
        history=items[:2],
        k=3,
    )
    expected = shop.recommend("sasrec", items[:2], k=3)
    assert seen["ids"] == expected and seen["bold"] == 0
    assert seen["answer"] == [shop.titles[item] for item in expected]
    assert seen["history"] == [shop.titles[item] for item in items[:2]]


@needs_chromium
def test_a_search_by_keyboard(browser, browse_shop, shop):
    browse_shop(
        "await until(() => !document.getElementById('catalogue').hidden);",
        model="sasrec:1",
    )
    browser.ask("document.getElementById('search').focus()")
    browser.type("cafe")
    open_list = "await until(() => document.querySelector('#found li'));"
    found = browser.ask(within(f"{open_list} return {TITLES};"))
    expected = [(item, title) for item, title in shop.titles.items() if "Café" in title]
    assert found == [list(one) for one in expected[:20]]
    state = """(() => { const box = document.getElementById("search");
      return [box.getAttribute("aria-expanded"), document.querySelector("[aria-selected=true]")
        .dataset.item, document.getElementById(box.getAttribute("aria-activedescendant"))
        .dataset.item, document.getElementById("search-status").textContent]; })()"""
    first = browser.ask(state)
    assert first[:3] == ["true", found[0][0], found[0][0]]
    assert first[3] == f"The first 20 of {len(expected)} items."
    browser.press("ArrowDown", "ArrowDown", "ArrowUp")
    assert browser.ask(state)[1] == found[1][0]
    browser.press("ArrowUp", "ArrowUp")
    assert browser.ask(state)[1] == found[19][0]
    browser.press("Enter")
    chosen = browser.ask(
        within(
            "await until(() => turn() >= 2); return [rows('history'), document.activeElement.id];"
        )
    )
    assert chosen[0][0][0] == found[19][1] and chosen[1] == "search"
    # Enter waits for the search.
    browser.type(found[2][0])
    browser.press("Enter")
    history = browser.ask(within("await until(() => turn() >= 3); return rows('history');"))
    assert [row[0] for row in history] == [found[19][1], found[2][1]]
    browser.type("no such film")
    told = "document.getElementById('search-status').textContent"
    nothing = browser.ask(within(f"await until(() => {told}); return {told};"))
    assert nothing == "No item has this in its id or title."
    browser.press("Escape")
    assert browser.ask("document.getElementById('search').value") == ""


@needs_chromium
def test_the_history_of_a_user_of_the_log(browse_shop, shop, items):
    seen = browse_shop(
        """
        document.getElementById("user").value = "u2";
        await settled(() => document.getElementById("load").click());
        const first = {rows: rows("history"), told: shown("logged"), older: shown("older"),
          answer: [...document.querySelectorAll("#answer [aria-pressed]")].map((one) => one.title)};
        document.getElementById("older").click();
        const all = rows("history").length, search = location.search;
        await settled(() => document.getElementById("random").click());
        return {...first, all, search, user: document.getElementById("user").value};
        """,
        k=5,
    )
    history = shop.histories["u2"]
    assert [row[0] for row in seen["rows"]] == [shop.titles[item] for item in history[-20:]]
    assert seen["told"] == "History of the user u2 in the log: 25 events."
    assert seen["older"] == "Show 5 older events" and seen["all"] == 25
    assert seen["answer"] == shop.recommend("sasrec", history, k=5)
    assert "log=u2" in seen["search"] and "history=" not in seen["search"]
    assert seen["user"] in shop.histories
    again = browse_shop("return {told: shown('logged'), rows: rows('history').length};", log="u1")
    assert again == {"told": "History of the user u1 in the log: 3 events.", "rows": 3}
    item = shop.recommend("sasrec", history, k=5)[1]
    why = browse_shop(
        "return [...document.querySelectorAll('[aria-pressed=true]')].map((one) => one.title);",
        log="u2",
        why=item,
        k=5,
    )
    assert why == [item]


@needs_chromium
def test_a_user_that_the_log_does_not_have(browser, browse_shop):
    problem = browse_shop(
        """
        document.getElementById("user").value = "nobody";
        document.getElementById("load").click();
        await until(() => shown("problem"));
        return shown("problem");
        """
    )
    assert problem == "The log has no user 'nobody'; give an id as it is in the log."
    assert len(browser.problems) == 1 and "404" in browser.problems.pop()


@needs_chromium
def test_two_models_side_by_side(browse_shop, shop, items):
    one, other = (shop.recommend(name, items[:3], k=20) for name in ("sasrec:1", "sasrec:2"))
    common = [item for item in one if item in other]
    assert 0 < len(common) < 20
    seen = browse_shop(
        f"""
        const titles = (id) =>
          [...document.querySelectorAll("#" + id + " [aria-pressed]")].map((one) => one.title);
        const marked = (id) => [...document.querySelectorAll("#" + id + " tr.both")].length;
        const first = {{one: titles("answer"), other: titles("answer-against"),
          ranks: [rows("answer"), rows("answer-against")].map((some) => some.map((row) => row[3])),
          told: shown("overlap"), marked: [marked("answer"), marked("answer-against")]}};
        await why({json.dumps(common[0])});
        const heads = [...document.querySelectorAll("#history th")].map((head) => head.innerText);
        return {{...first, heads, rows: rows("history"), note: shown("note"),
          reasons: document.querySelectorAll(".reasons").length}};
        """,
        model="sasrec:1",
        against="sasrec:2",
        history=items[:3],
        k=20,
    )
    assert seen["one"] == one and seen["other"] == other
    for ranks, own, there in zip(seen["ranks"], (one, other), (other, one), strict=True):
        expected = [f"● {there.index(item) + 1}" if item in there else "none" for item in own]
        assert ranks == expected
    assert seen["marked"] == [len(common)] * 2
    assert seen["told"].startswith(f"{len(common)} of 20 items are in both lists")
    assert seen["heads"][1:3] == ["sasrec:1", "sasrec:2"]
    for name, column in (("sasrec:1", 1), ("sasrec:2", 2)):
        expected = shop.explain(name, items[:3], common[0])
        found = [float(row[column]) for row in seen["rows"]]
        assert found == pytest.approx(expected, rel=1e-3, abs=1e-6)
    assert seen["reasons"] == 2
    assert "sasrec:2: Ranked by the model." in seen["note"]


@needs_chromium
def test_the_reasons_below_the_chosen_item(browse_shop, shop, items):
    history = items[3:9]
    first = shop.recommend("sasrec", history, k=4)[0]
    contribution = shop.explain("sasrec", history, first)
    raising = [place for place in np.argsort(contribution)[::-1] if contribution[place] > 0][:5]
    seen = browse_shop(
        f"""
        await why({json.dumps(first)});
        const row = document.querySelector("#answer tr.reasons");
        return {{after: row.previousElementSibling.querySelector("button").title,
          text: row.innerText, items: [...row.querySelectorAll("li")].map((one) =>
            [one.firstChild.title, one.querySelector(".bar span").style.width,
             one.lastChild.textContent])}};
        """,
        history=history,
        k=4,
    )
    assert raising and seen["after"] == first and seen["text"].startswith("Because of")
    assert [one[0] for one in seen["items"]] == [history[place] for place in raising]
    assert [float(one[2]) for one in seen["items"]] == pytest.approx(
        [contribution[place] for place in raising], rel=1e-3
    )
    widths = [float(one[1].removesuffix("%")) for one in seen["items"]]
    most = max(map(abs, contribution))
    assert widths == pytest.approx(
        [100 * contribution[place] / most for place in raising], abs=0.01
    )


@needs_chromium
@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_is_wider_than_the_window(browser, browse_shop, shop, items, width):
    browser.resize(width, 800)
    chosen = shop.recommend("sasrec:1", items[:3], k=5)[0]
    common = {"history": items[:3], "without": items[3], "k": 5, "why": chosen}
    seen = browse_shop(
        """
        const wide = [...document.querySelectorAll("section")]
          .filter((one) => one.scrollWidth > one.clientWidth).map((one) => one.innerText);
        return {page: document.documentElement.scrollWidth, wide,
          small: [...document.querySelectorAll("button, select, input")].filter((one) =>
            one.getClientRects().length && one.getBoundingClientRect().height < 18).length};
        """,
        model="sasrec:1",
        against="sasrec:2",
        **common,
    )
    assert seen["page"] <= width and seen["wide"] == [] and seen["small"] == 0


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
    for name in ("model", "user", "k", "Recommend", "search", "items"):
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
    assert browser.ask("document.querySelectorAll('#history .bar').length") == 4
    browser.ask("document.getElementById('clear').focus()")
    tab_to("use 1")
    browser.press(" ")
    browser.ask(within("await until(() => turn() >= 4);"))
    assert browser.ask(FOCUS)[0] == "use 1"
    assert browser.ask("document.getElementById('note').textContent").startswith(
        "3 items for 1 of 2"
    )


@needs_chromium
def test_an_item_that_the_model_does_not_know(browse_shop, items):
    seen = browse_shop(
        "return {note: shown('note'), heads: document.querySelectorAll('#history th').length};",
        model="sasrec:1",
        history=items[:1],
        why="nothing",
        k=1,
    )
    assert seen["note"].startswith("1 item for 1 of 1 in the history. Ranked by the model.")
    assert seen["note"].endswith(" The model knows no item nothing.") and seen["heads"] == 2


@needs_chromium
def test_titles_are_asked_only_of_models_that_have_them(browse_shop, items, monkeypatch):
    script = "return rows('history').map((row) => row[0]);"
    asked = "performance.getEntriesByType('resource').filter((one) => one.name.endsWith('predict'))"
    titled = browse_shop(f"return {asked}.length;", history=items[:1])
    # As for a model without an items file, which would refuse the request.
    monkeypatch.setattr("serving.server.page_service._DESCRIBE", "none")
    assert browse_shop(f"return {asked}.length;", history=items[:1]) < titled
    assert browse_shop(script, history=items[:2]) == items[:2]
