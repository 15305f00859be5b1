"""Small log files, and what reading them returns or refuses."""

import pytest

from tfrec_attn.data.reading.interactions import read_interactions
from tfrec_attn.errors import DataError

TSV = "user_id\titem_id\ttimestamp\n"
GOOD = "u\ti\t5\n"


def write(folder, name, text):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def rows(path, **options):
    return read_interactions(path, **options).frame.rows()


def refusal(path, kind=DataError, **options):
    with pytest.raises(kind) as caught:
        read_interactions(path, **options)
    message = str(caught.value)
    assert message.endswith(".") and "\n" not in message
    return message
