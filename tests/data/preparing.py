"""The log that the tests prepare, and what is left of a preparation."""

from pathlib import Path

import pytest

from tfrec_attn.config import Data
from tfrec_attn.data.reading.synthetic import synthetic
from tfrec_attn.data.shards.prepare_locally import prepare_log
from tfrec_attn.errors import DataError

HEADER = "user_id\titem_id\ttimestamp\n"


def synthetic_log():
    return synthetic(2_000, seed=5)


def contents(folder):
    return {entry.name: entry.read_bytes() for entry in Path(folder).iterdir()}


def refused(logs, folder, data=None, kind=DataError):
    """Returns the error message, and checks that no folder is left."""
    with pytest.raises(kind) as caught:
        prepare_log([str(path) for path in logs], folder / "out", data or Data(min_user_events=1))
    assert not (folder / "out").exists() and not (folder / "out.partial").exists()
    message = str(caught.value)
    assert message.endswith(".") and "\n" not in message
    return message
