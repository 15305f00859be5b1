"""Reads what a client of HTTP/1.1 sends within limits of time and size."""

import io
import socket
import time

_CHUNK_LINE = 1024


class BodyError(Exception):
    """A body that cannot be read; the connection is of no use after it.

    Attributes:
      status: of HTTP.
      message: one sentence.
    """

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status, self.message = status, message


class DeadlineReader(io.RawIOBase):
    """The receiving side of a socket, on which a request as a whole has a deadline, however slowly its bytes drip.

    Errors: TimeoutError where a read would go past the deadline.
    """

    def __init__(self, connection: socket.socket):
        self._connection, self._deadline = connection, None

    def expire_in(self, seconds: float) -> None:
        """Sets the deadline, counted from now."""
        self._deadline = time.monotonic() + seconds

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer) -> int:
        """Bytes that have come, at least one unless the other side has ended."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(left)
        return self._connection.recv_into(buffer)


def check_headers(headers, limit: int) -> None:
    """Refuses a body that cannot be read, before it is sent.

    Args:
      headers: of the request.
      limit: most bytes of a body.

    Errors: BodyError 400, 413, 415 or 501.
    """
    coding, encoding = headers.get("Transfer-Encoding"), headers.get("Content-Encoding", "identity")
    lengths = headers.get_all("Content-Length", [])
    if coding is not None and coding.strip().lower() != "chunked":
        raise BodyError(501, "Of Transfer-Encoding only chunked is read; send the body with a Content-Length.")
    if len(lengths) > 1 or (coding and lengths):
        raise BodyError(400, "A request must say the length of its body once; send one Content-Length, or chunks.")
    if lengths and not (lengths[0].isascii() and lengths[0].strip().isdecimal() and len(lengths[0]) < 20):
        raise BodyError(400, "Content-Length must be a number of bytes.")
    if encoding.strip().lower() != "identity":
        raise BodyError(415, "A compressed body is not read; send it without Content-Encoding.")
    if lengths and int(lengths[0]) > limit:
        raise _too_large(limit)


def read_body(stream, headers, limit: int) -> bytes:
    """The body of a request, empty where its headers announce none.

    Args:
      stream: buffered, behind the headers.
      headers: that `check_headers` has passed.
      limit: most bytes.

    Errors: BodyError 400 where it is cut off, 413 where it is too large; TimeoutError.
    """
    if headers.get("Transfer-Encoding"):
        return _chunks(stream, limit)
    return _exactly(stream, int(headers.get("Content-Length", 0)))


def _exactly(stream, size):
    data = stream.read(size)
    if len(data) < size:
        raise BodyError(400, f"The body was cut off: {size} bytes were announced, but {len(data)} came.")
    return data


def _chunks(stream, limit):
    parts, total = [], 0
    while size := _chunk_size(stream):
        total += size
        if total > limit:
            raise _too_large(limit)
        parts.append(_exactly(stream, size))
        if stream.readline(_CHUNK_LINE).rstrip(b"\r\n"):
            raise BodyError(400, "A chunk of the body is longer than its size says.")
    trailers = 0
    while stream.readline(_CHUNK_LINE).rstrip(b"\r\n"):
        trailers += 1
        if trailers > 100:
            raise BodyError(400, "The body has too many trailers.")
    return b"".join(parts)


def _chunk_size(stream):
    digits = stream.readline(_CHUNK_LINE).split(b";")[0].strip()
    if not 1 <= len(digits) <= 8 or digits.strip(b"0123456789abcdefABCDEF"):
        raise BodyError(400, "The body was cut off, or a chunk has no size.")
    return int(digits, 16)


def _too_large(limit):
    return BodyError(413, f"A body may have at most {limit} bytes; send fewer rows, or shorter histories, at a time.")
