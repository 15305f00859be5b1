"""Checks of the headers of an HTTP request, before its body is read."""

import dataclasses
import re
from collections.abc import Collection, Iterable

LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
_NAMES = (b"host", b"origin", b"transfer-encoding", b"content-encoding", b"content-length")
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^\[\]:/@\s]+)(:[0-9]*)?", re.IGNORECASE)
_SHOWN = 80


class HttpError(Exception):
    """A request that the server rejects because of its headers or its body.

    Args:
        status: HTTP status.
        message: One sentence.

    Attributes:
        status, message: As given.
    """

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status, self.message = status, message


@dataclasses.dataclass(frozen=True)
class Limits:
    """Limits on clients.

    Attributes:
        body: Most bytes of a body (default: 4 MiB).
        head: Most bytes of the request line and the headers (default: 64 KiB). A head that arrives
            in one read can be larger.
        connections: Most connections (default: 64). A further connection replaces an idle one. If
            none is idle, it is rejected with 503.
        request_seconds: Seconds to receive a request, and seconds to send its response (default:
            10).
        idle_seconds: Seconds after which an idle connection is closed (default: 60).
    """

    body: int = 4 << 20
    head: int = 64 << 10
    connections: int = 64
    request_seconds: float = 10.0
    idle_seconds: float = 60.0


def check_headers(
    headers: Iterable[tuple[bytes, bytes]], version: str, limit: int, hosts: Collection[str]
) -> None:
    """Rejects a request that the server cannot read, or that another site may have sent.

    Another site can make its host name point to this machine (DNS rebinding). The browser then
    sends requests of the site's pages here, with that name in the header host. So the server only
    accepts requests with known host names, and from pages of known hosts.

    Args:
        headers: (name in lower case, value) pairs.
        version: Version of HTTP, such as "1.1".
        limit: Most bytes of a body.
        hosts: Known host names in lower case.

    Raises:
        HttpError: 400, 403, 413, 415 or 501.
    """
    found = {name: [] for name in _NAMES}
    for name, value in headers:
        if name in found:
            found[name].append(value)
    host = _one(found[b"host"], "host") if version != "1.0" or found[b"host"] else None
    if host is not None and _name(host) not in hosts:
        shown = host[:_SHOWN]
        raise HttpError(
            403,
            f"This server does not answer for the host {shown!r}; start it with --allowed-host.",
        )
    for origin in found[b"origin"]:
        _check_origin(_text(origin), host, hosts)
    if [value.lower() for value in found[b"transfer-encoding"]] not in ([], [b"chunked"]):
        raise HttpError(
            501, "Of Transfer-Encoding only chunked is read; send a Content-Length instead."
        )
    if any(value.strip().lower() != b"identity" for value in found[b"content-encoding"]):
        raise HttpError(415, "A compressed body is not read; send it without Content-Encoding.")
    if any(int(value) > limit for value in found[b"content-length"]):
        raise too_large(limit)


def too_large(limit: int) -> HttpError:
    """Makes the error 413 of a body with more than `limit` bytes."""
    return HttpError(
        413,
        f"A body may have at most {limit} bytes; send fewer rows, or shorter histories, at a time.",
    )


def _one(values: list[bytes], name: str) -> str:
    if len(values) != 1:
        raise HttpError(400, f"A request must have one header {name}, but has {len(values)}.")
    return _text(values[0])


def _name(host: str) -> str | None:
    """The host name in a header host, in lower case without the port; None if it is invalid."""
    match = _HOST.fullmatch(host)
    return match[1].lower() if match else None


def _check_origin(origin: str, host: str | None, hosts: Collection[str]) -> None:
    scheme, _, authority = origin.partition("://")
    same = host is not None and authority.lower() == host.lower()
    named = _name(authority) in set(hosts) - LOOPBACK
    if scheme.lower() not in ("http", "https") or not (same or named):
        shown = origin[:_SHOWN]
        raise HttpError(
            403,
            f"Pages of {shown!r} may not ask this server; start it with --allowed-host.",
        )


def _text(value: bytes) -> str:
    return value.decode("latin-1")
