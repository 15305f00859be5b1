"""SIGTERM and SIGINT as requests to stop where it does no harm."""

import contextlib
import signal
import threading

from tfrec_attn.errors import Interrupted

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopSignals:
    """Within it SIGTERM and SIGINT raise `Interrupted`: at once, or inside `deferred` where `check`
    is called; a second one at once.
    """

    def __init__(self):
        self.received = None
        self._deferred = False
        self._before = {}

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._handle) for number in _SIGNALS}
        return self

    def __exit__(self, *_):
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextlib.contextmanager
    def deferred(self):
        """Signals inside wait for `check`."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False

    def check(self) -> None:
        """Raises `Interrupted` when a signal has come."""
        if self.received is not None:
            raise Interrupted(self.received)

    def _handle(self, number, frame):
        first, self.received = self.received is None, number
        if not (self._deferred and first):
            raise Interrupted(number)
