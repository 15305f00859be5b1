"""What went wrong with a request, in the codes of gRPC and of HTTP."""

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


# A message says some of what came; more than this does not fit into the trailers of a call.
_MOST_MESSAGE, _LAST = 800, 300


class StatusError(Exception):
    """A request that cannot be answered.

    Args:
        code: The `grpc.StatusCode`.
        message: One sentence; a long one is shortened in its middle.

    Attributes:
        code, message: As given.
        http: The HTTP status that TF Serving gives for the code.
    """

    def __init__(self, code: grpc.StatusCode, message: str):
        if len(message) > _MOST_MESSAGE:
            message = f"{message[: _MOST_MESSAGE - _LAST]}...{message[-_LAST:]}"
        super().__init__(message)
        self.code, self.message = code, message

    @property
    def http(self) -> int:
        """The HTTP status of the code."""
        return http_status(self.code)


def http_status(code: grpc.StatusCode) -> int:
    """The HTTP status that TF Serving gives for a gRPC status."""
    return _HTTP[code]


def from_number(number: int) -> grpc.StatusCode:
    """The status of a number as protos and TensorFlow's errors carry it, UNKNOWN where there is no
    such number.
    """
    return _BY_NUMBER.get(number, grpc.StatusCode.UNKNOWN)


def invalid(message: str) -> StatusError:
    """An INVALID_ARGUMENT."""
    return StatusError(grpc.StatusCode.INVALID_ARGUMENT, message)


def not_found(message: str) -> StatusError:
    """A NOT_FOUND."""
    return StatusError(grpc.StatusCode.NOT_FOUND, message)


def failed_precondition(message: str) -> StatusError:
    """A FAILED_PRECONDITION."""
    return StatusError(grpc.StatusCode.FAILED_PRECONDITION, message)
