"""Statuses of requests, as codes of gRPC and HTTP."""

from pathlib import Path

import grpc

_HTTP = {
    grpc.StatusCode.OK: 200,
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.UNKNOWN: 500,
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.INTERNAL: 500,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DATA_LOSS: 500,
}
_BY_NUMBER = {code.value[0]: code for code in grpc.StatusCode}


# Longer messages do not fit into the trailers of a gRPC call.
_MAX_MESSAGE, _LAST = 800, 300


class StatusError(Exception):
    """A failed request, with its gRPC status.

    Args:
        code: A `grpc.StatusCode`.
        message: One sentence. The middle of a long sentence is left out.

    Attributes:
        code, message: As given.
    """

    def __init__(self, code: grpc.StatusCode, message: str):
        if len(message) > _MAX_MESSAGE:
            message = f"{message[: _MAX_MESSAGE - _LAST]}...{message[-_LAST:]}"
        super().__init__(message)
        self.code, self.message = code, message

    @property
    def http(self) -> int:
        """The HTTP status that TF Serving returns for the code."""
        return _HTTP[self.code]


def without_folder(message: str, folder: Path, name: str) -> str:
    """Removes the path of a folder from a message, because clients must not learn it.

    Args:
        message: A message that can contain the absolute path of the folder or of files in it.
        folder: The folder.
        name: Replacement for the path of the folder.
    """
    return message.replace(f"{folder}/", "").replace(str(folder), name)


def from_number(number: int) -> grpc.StatusCode:
    """Returns the status with a number, as in errors of TensorFlow; UNKNOWN for other numbers."""
    return _BY_NUMBER.get(number, grpc.StatusCode.UNKNOWN)


def invalid(message: str) -> StatusError:
    """Makes an INVALID_ARGUMENT error."""
    return StatusError(grpc.StatusCode.INVALID_ARGUMENT, message)


def not_found(message: str) -> StatusError:
    """Makes a NOT_FOUND error."""
    return StatusError(grpc.StatusCode.NOT_FOUND, message)


def failed_precondition(message: str) -> StatusError:
    """Makes a FAILED_PRECONDITION error."""
    return StatusError(grpc.StatusCode.FAILED_PRECONDITION, message)
