"""What the page asks beside the API of TF Serving, over HTTP."""

import contextlib
import http.client
import json
from urllib.parse import quote

import pytest

from serving.server.model_config import ModelConfig
from serving.server.model_store import ModelStore
from serving.server.page_service import PageService

SEARCH, HISTORY = "/page/models/sasrec:search", "/page/history"


@pytest.fixture
def ask(shop):
    """A function (method, path, body) -> (status, headers, body)."""
    with contextlib.closing(
        http.client.HTTPConnection("127.0.0.1", shop.rest_port, timeout=20)
    ) as connection:

        def call(method, path, body=None):
            connection.request(method, path, json.dumps(body) if isinstance(body, dict) else body)
            response = connection.getresponse()
            return response.status, response.headers, response.read()

        yield call


def test_the_files_of_the_page(ask):
    kinds = {"/": "text/html", "/page/style.css": "text/css", "/page/page.js": "text/javascript"}
    for path, kind in kinds.items():
        status, headers, body = ask("GET", path)
        assert status == 200 and body and headers["Content-Type"] == f"{kind}; charset=utf-8"
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
    assert ask("HEAD", "/page/page.js")[2] == b""


def test_the_models(ask):
    status, _, body = ask("GET", "/page/models")
    assert status == 200 and json.loads(body) == {
        "models": [
            {"name": "sasrec", "versions": [1, 2], "labels": {"old": 1}, "described": [1, 2]},
            {"name": "toy", "versions": [1], "labels": {}, "described": []},
        ],
        "users": 3,
    }


def test_the_models_are_in_the_order_of_the_server(servable):
    names = ["new", "7", "also"]
    store = ModelStore([ModelConfig(name, servable) for name in names])
    found = json.loads(PageService(store, {}).respond("GET", "/page/models", b"").body)
    # None is loaded yet.
    assert [one["name"] for one in found["models"]] == names and found["users"] is None


@pytest.mark.parametrize("which", ["/versions/1", "/labels/old", ""])
def test_a_search(ask, shop, items, which):
    order = items if which else items[7:] + items[:7]
    status, headers, body = ask("POST", f"/page/models/sasrec{which}:search", {"text": "CAFE <B"})
    expected = [item for item in order if "Café" in shop.titles[item]]
    assert status == 200 and headers["Cache-Control"] == "no-store"
    assert json.loads(body) == {
        "items": [{"id": item, "title": shop.titles[item]} for item in expected[:20]],
        "total": len(expected),
        "catalogue": len(items),
    }


def test_an_id_comes_first(ask, items):
    found = json.loads(ask("POST", SEARCH, {"text": f" {items[4].upper()} "})[2])["items"]
    assert found[0]["id"] == items[4]
    assert json.loads(ask("POST", SEARCH, {"text": " "})[2])["items"] == []


def test_the_history_of_a_user(ask, shop):
    for user, history in shop.histories.items():
        status, _, body = ask("POST", HISTORY, {"user": user})
        expected = {"user": user, "history": history, "events": len(history)}
        assert (status, json.loads(body)) == (200, expected)
    for body in ({}, {"user": None}):
        found = json.loads(ask("POST", HISTORY, body)[2])
        assert found["history"] == shop.histories[found["user"]]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "words"),
    [
        ("POST", SEARCH, b"", 400, "the document is empty"),
        ("POST", SEARCH, b"{", 400, "JSON Parse error"),
        ("POST", SEARCH, b"[" * 4000, 400, "nested too deeply"),
        ("POST", SEARCH, b"\xff", 400, "not UTF-8"),
        ("POST", SEARCH, b"[]", 400, "must be a JSON object, but [...] (JSON Array) came"),
        ("POST", SEARCH, b"{}", 400, "must have a text"),
        ("POST", SEARCH, b'{"text": 1}', 400, "'text' must be a JSON string, but 1 (JSON Number)"),
        (
            "POST",
            SEARCH,
            b'{"text": "a", "text": "b"}',
            400,
            'has the key "text" (JSON String) twice',
        ),
        ("POST", SEARCH, b'{"text": "a", "k": 1}', 400, "may have the key 'text', but has 'k'"),
        ("POST", SEARCH, b'{"text": "\\ud800"}', 400, "half of a character"),
        ("POST", SEARCH, {"text": "a" * 201}, 400, "at most 200 characters, but has 201"),
        ("POST", SEARCH, {"text": "a" * 5000}, 413, "at most 4096 bytes"),
        ("POST", "/page/models/x:search", {"text": "a"}, 404, "Latest(x)"),
        (
            "POST",
            "/page/models/sasrec/versions/9:search",
            {"text": "a"},
            404,
            "Specific(sasrec, 9)",
        ),
        ("POST", "/page/models/sasrec/labels/x:search", {"text": "a"}, 400, "version label: x"),
        ("POST", f"/page/models/sasrec/versions/{2**63}:search", {"text": "a"}, 400, "numeric"),
        ("POST", "/page/models/toy:search", {"text": "a"}, 400, "no file of its items"),
        ("GET", SEARCH, None, 405, ":search takes POST only"),
        ("GET", HISTORY, None, 405, "/page/history takes POST only"),
        ("POST", "/page/models", b"{}", 405, "/page/models takes GET only"),
        ("POST", "/page/page.js", b"{}", 405, "takes GET only"),
        ("POST", HISTORY, {"user": "u"}, 404, "The log has no user 'u'; give an id as it is in"),
        ("POST", HISTORY, {"user": "a\n" * 500}, 404, "The log has no user"),
        ("POST", HISTORY, b'{"user": []}', 400, "'user' must be a JSON string"),
        ("GET", "/page/", None, 404, "nothing under this path"),
        ("GET", "/page/../rest_service.py", None, 404, "nothing under this path"),
        ("GET", "/page/index.html", None, 404, "nothing under this path"),
        ("POST", "/page/models/..%2fsasrec:search", {"text": "a"}, 404, "Latest(../sasrec)"),
        ("POST", f"/page/models/{quote('/etc')}:search", {"text": "a"}, 404, "nothing under"),
    ],
)
def test_requests_that_are_refused(ask, method, path, body, status, words):
    found, headers, text = ask(method, path, body)
    error = json.loads(text)["error"]
    assert found == status and words in error and "\n" not in error
    assert ("Allow" in headers) == (status == 405)
    assert ask("POST", SEARCH, {"text": "a"})[0] == 200


def test_a_server_without_histories(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=20)
    with contextlib.closing(connection):
        connection.request("POST", HISTORY, "{}")
        response = connection.getresponse()
        error = json.loads(response.read())["error"]
        assert response.status == 404
        assert error == "This server has no histories; start it with --histories FILE."
        connection.request("GET", "/page/models")
        assert json.loads(connection.getresponse().read())["users"] is None
