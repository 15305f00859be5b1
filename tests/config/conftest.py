"""Fixtures of the tests of configurations."""

import pytest


@pytest.fixture
def file(tmp_path):
    """A function that writes a YAML text and returns its path."""

    def write(text):
        path = tmp_path / "some.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write
