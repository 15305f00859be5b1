"""Fixtures of the optimizer tests."""

import pytest

from tfrec_attn.config import Runtime
from tfrec_attn.runtime.distribution import make_strategy


@pytest.fixture
def two_replicas():
    """The one strategy of the process over two CPUs: collectives of two strategies would meet."""
    return make_strategy(Runtime(strategy="mirrored", devices=["CPU:0", "CPU:1"]))
