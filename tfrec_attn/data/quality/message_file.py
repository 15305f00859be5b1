"""Reads a protocol buffer from a file: the schema or the statistics of a log."""

from pathlib import Path
from typing import TypeVar

from google.protobuf import text_format
from google.protobuf.message import Error, Message

from tfrec_attn.errors import DataError
from tfrec_attn.files.readable import readable

_MAX_BYTES = 10 * 2**20
_Message = TypeVar("_Message", bound=Message)


def read_message(path: str | Path, message: _Message, what: str, *, text: bool) -> _Message:
    """Fills a message from a file, and returns it.

    Args:
        path: The file.
        message: An empty message.
        what: Name of the message in errors, such as `a schema`.
        text: Whether the file has the text format; otherwise it is binary.

    Raises:
        DataError: If the file cannot be read, is too large, or does not hold such a message.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(
            f"{path} is not a file: expected {what} that tfrec_attn.data.validate wrote."
        )
    with readable(path):
        if path.stat().st_size > _MAX_BYTES:
            raise DataError(
                f"{path} has {path.stat().st_size:,} bytes: expected {what} of at most "
                f"{_MAX_BYTES:,}; remove large domains."
            )
        content = path.read_bytes()
    try:
        if text:
            text_format.Parse(content.decode("utf-8"), message)
        else:
            message.ParseFromString(content)
    except (Error, text_format.Error, ValueError, RecursionError) as error:
        cause = " ".join(str(error).split()).rstrip(".")
        raise DataError(
            f"{path} does not hold {what} as tfrec_attn.data.validate writes it ({cause})."
        ) from None
    return message
