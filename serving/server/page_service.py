"""The web page: its files, and its requests besides those of the API of TF Serving."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

from tfrec_attn.errors import shown

from ..protocol import rest_json
from ..protocol.json_values import with_type
from ..protocol.statuses import StatusError, invalid, not_found
from .http_server import Response
from .model_path import MODEL_PATH, spec_of

# The page can load files only from its own server, and send requests only to it.
_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = (
    ("Content-Security-Policy", _POLICY),
    ("Cache-Control", "no-cache"),
    ("Referrer-Policy", "no-referrer"),
)
_KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
_SEARCH = re.compile("/page" + MODEL_PATH + ":search")
_MODELS, _HISTORY = "/page/models", "/page/history"
_DESCRIBE = "describe_joined"
_MAX_BODY = 1 << 12


class PageService:
    """Responds to requests for / and below /page/. No path of a request reaches the file system.

    - GET / and /page/NAME: the page and its files
    - GET /page/models: the number of users, and the models in the order of the server, each with
      its versions, the versions that have an items file, and its labels
    - POST /page/models/NAME[/versions/V | /labels/L]:search {"text"}: items of the catalogue
    - POST /page/history {"user"}: the history of a user of the log; without "user", of a random
      user

    Args:
        store: A `ModelStore`.
        files: Response for each path of a file.
        users: A `UserLog`, or None (default).
    """

    def __init__(self, store, files: Mapping[str, Response], users=None):
        self._store, self._files, self._users = store, files, users
        self._count = None if users is None else len(users)

    def respond(self, method: str, path: str, body: bytes) -> Response | None:
        """Returns the response to a request; None for an unknown path.

        Raises:
            StatusError: If the request is invalid, or the model, its items or the user is unknown.
        """
        if path in self._files or path == _MODELS:
            if method not in ("GET", "HEAD"):
                return _only(path, "GET", "GET, HEAD")
            return self._files.get(path) or self._models()
        search = _SEARCH.fullmatch(path)
        if not search and path != _HISTORY:
            return None
        if method != "POST":
            return _only(path, "POST", "POST")
        if len(body) > _MAX_BODY:
            message = f"A body of {path[:80]} may have at most {_MAX_BODY} bytes; send fewer."
            return Response(413, rest_json.error_body(message))
        return self._search(search, body) if search else self._history(body)

    def _models(self) -> Response:
        models = [self._model(name) for name in self._store.names()]
        return _json({"models": models, "users": self._count})

    def _model(self, name: str) -> dict[str, object]:
        versions = self._store.available(name)
        described = [version for version in versions if self._has_descriptions(name, version)]
        return {
            "name": name,
            "versions": versions,
            "labels": self._store.labels(name),
            "described": described,
        }

    def _has_descriptions(self, name: str, version: int) -> bool:
        try:
            with self._store.using(name, version) as found:
                return _DESCRIBE in found.model.signatures
        except StatusError:
            # A new version has just replaced it.
            return False

    def _search(self, match: re.Match, body: bytes) -> Response:
        text = _text(body, "text")
        if text is None:
            raise invalid('A search must have a text; send {"text": "..."}.')
        with self._store.using(*spec_of(match)) as version:
            catalogue = version.model.catalogue
        found = catalogue.search(text)
        items = [{"id": one, "title": title} for one, title in found.items]
        return _json({"items": items, "total": found.total, "catalogue": len(catalogue)})

    def _history(self, body: bytes) -> Response:
        if self._users is None:
            raise not_found("This server has no histories; start it with --histories FILE.")
        user = _text(body, "user")
        found = self._users.any() if user is None else self._users.find(user)
        if found is None:
            raise not_found(f"The log has no user {shown(user)}; give an id as it is in the log.")
        return _json({"user": found.user, "history": found.items, "events": found.events})


def page_files() -> dict[str, Response]:
    """Returns the response for each path of a file of the page."""
    files = {}
    for path in sorted((Path(__file__).parent / "page").iterdir()):
        if path.suffix in _KINDS:
            where = "/" if path.name == "index.html" else f"/page/{path.name}"
            kind = f"{_KINDS[path.suffix]}; charset=utf-8"
            files[where] = Response(200, path.read_bytes(), kind, _HEADERS)
    return files


def _text(body: bytes, name: str) -> str | None:
    """The text of the only key of a JSON object; None if it is null or missing."""
    request = rest_json.document(body)
    if not isinstance(request, dict):
        raise invalid(f"A request must be a JSON object, but {with_type(request)} came.")
    for key in request:
        if key != name:
            raise invalid(f"A request may have the key '{name}', but has {shown(key)}.")
    text = request.get(name)
    if text is not None and not isinstance(text, str):
        raise invalid(f"'{name}' must be a JSON string, but {rest_json.with_type(text)} came.")
    if text is not None and any("\ud800" <= one <= "\udfff" for one in text):
        raise invalid(f"'{name}' must be Unicode text, but has half of a character.")
    return text


def _json(value: object) -> Response:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return Response(200, text.encode("utf-8"), headers=(("Cache-Control", "no-store"),))


def _only(path: str, method: str, allowed: str) -> Response:
    message = f"{path[:80]} takes {method} only."
    return Response(405, rest_json.error_body(message), headers=(("Allow", allowed),))
