"""Handles SIGTERM and SIGINT, so that a training stops at the end of a step."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tfrec_attn.errors import Interrupted, TrainingError

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopSignals:
    """A context in which SIGTERM and SIGINT raise `Interrupted`.

    They raise it at once. In a block of `deferred`, the first signal raises it only in `check`, and
    a second signal at once.

    Attributes:
        received: Number of the last signal, or None.
    """

    def __init__(self):
        self.received = None
        self._deferred = False
        self._before = {}

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._handle) for number in _SIGNALS}
        return self

    def __exit__(self, *_: Any) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Defers the first signal in the block to `check`. Blocks can be nested."""
        before, self._deferred = self._deferred, True
        try:
            yield
        finally:
            self._deferred = before

    def check(self) -> None:
        """Raises `Interrupted` if a signal was received."""
        if self.received is not None:
            raise Interrupted(self.received)

    def _handle(self, number: int, _: Any) -> None:
        first, self.received = self.received is None, number
        if not (self._deferred and first):
            raise Interrupted(number)


@contextlib.contextmanager
def explain_rest(
    folder: Path | None, rest: Callable[[], str], *errors: type[Exception]
) -> Iterator[None]:
    """Adds to the errors of the block a clause about what is left of the work.

    Args:
        folder: Folder of the work.
        rest: Function that returns the clause, such as how to resume.
        *errors: Errors to add it to, besides interruptions and OSError.
    """
    try:
        yield
    except (Interrupted, KeyboardInterrupt, OSError, *errors) as error:
        if isinstance(error, KeyboardInterrupt):
            error = Interrupted(signal.SIGINT)
        elif isinstance(error, OSError):
            name, reason = error.filename or folder, error.strerror or error
            error = TrainingError(f"{name} cannot be written: {reason}")
        error.args = (f"{str(error).rstrip('.')}; {rest()}.",)
        raise error from None
