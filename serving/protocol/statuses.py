"""The statuses of requests, in the codes of gRPC and HTTP."""

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


# Longer messages do not fit into the trailers of a call.
_MAX_MESSAGE, _LAST = 800, 300


class StatusError(Exception):
    """A request that fails.

    Args:
        code: The `grpc.StatusCode`.
        message: One sentence. The middle of a long one is left out.

    Attributes:
        code, message: As given.
        http: The HTTP status that TF Serving gives for the code.
    """

    def __init__(self, code: grpc.StatusCode, message: str):
        if len(message) > _MAX_MESSAGE:
            message = f"{message[: _MAX_MESSAGE - _LAST]}...{message[-_LAST:]}"
        super().__init__(message)
        self.code, self.message = code, message

    @property
    def http(self) -> int:
        """The HTTP status of the code."""
        return _HTTP[self.code]


def without_folder(message: str, folder: Path, name: str) -> str:
    """Returns a message for clients, which must not learn where the files of a server are.

    Args:
        message: It may name an absolute folder or files in it.
        folder: The folder.
        name: What is said instead.
    """
    return message.replace(f"{folder}/", "").replace(str(folder), name)


def from_number(number: int) -> grpc.StatusCode:
    """Returns the status of a number in protos and errors of TensorFlow, UNKNOWN for others."""
    return _BY_NUMBER.get(number, grpc.StatusCode.UNKNOWN)


def invalid(message: str) -> StatusError:
    """Makes an INVALID_ARGUMENT."""
    return StatusError(grpc.StatusCode.INVALID_ARGUMENT, message)


def not_found(message: str) -> StatusError:
    """Makes a NOT_FOUND."""
    return StatusError(grpc.StatusCode.NOT_FOUND, message)


def failed_precondition(message: str) -> StatusError:
    """Makes a FAILED_PRECONDITION."""
    return StatusError(grpc.StatusCode.FAILED_PRECONDITION, message)
