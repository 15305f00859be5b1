"""Signals that stop a command."""

import os
import signal

import pytest

from tfrec_attn.errors import Interrupted
from tfrec_attn.runtime.stop_signals import StopSignals


def test_deferring_can_be_nested():
    with StopSignals() as stop, stop.deferred():
        with stop.deferred():
            pass
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.received == signal.SIGINT
        with pytest.raises(Interrupted):
            stop.check()


def test_a_second_signal_does_not_wait():
    with StopSignals() as stop, stop.deferred():
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.received == signal.SIGINT
        with pytest.raises(Interrupted, match="stopped by SIGINT"):
            stop.check()
        with pytest.raises(Interrupted, match="stopped by SIGTERM") as caught:
            os.kill(os.getpid(), signal.SIGTERM)
    assert caught.value.exit_code == 143
