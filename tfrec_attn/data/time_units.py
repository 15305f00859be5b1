"""Whether all times of a log count the same unit."""

import numpy as np

from tfrec_attn.errors import DataError

_CLOCK = 1e8  # numbers above it count from 1970: as seconds it is March 1973
_APART = 500  # a thousand lies between two units, and less than two between the moments of a log
_SHARE = 0.01


class TimeUnits:
    """Sees the times of a log, a part at a time, and refuses negative ones, and those of which some count seconds and others milliseconds.

    For the latter, of each part only its first and its last hundredth count, so that a few wrong times do not.
    """

    def __init__(self):
        self._low, self._high = (np.inf, ""), (0.0, "")

    def add(self, path: str, times: np.ndarray) -> None:
        """Looks at some times of a file.

        Raises:
            DataError: If one is negative, or if they are 500 times larger or smaller than others, and both count from 1970.
        """
        if len(times) and times.min() < 0:
            raise DataError(f"{path} holds {np.count_nonzero(times < 0)} negative times, such as {times.min():.15g}: correct them.")
        clock = times[times > _CLOCK]
        if not len(clock):
            return
        low, high = np.quantile(clock, [_SHARE, 1 - _SHARE], method="lower")
        self.add_ends(path, float(low), float(high))

    @property
    def ends(self) -> tuple[float | None, float | None]:
        """The first and the last hundredth of the times seen; None where none count from 1970."""
        return (self._low[0], self._high[0]) if self._high[1] else (None, None)

    def add_ends(self, path: str, low: float | None, high: float | None) -> None:
        """Takes the ends of another."""
        if low is None:
            return
        self._low, self._high = min(self._low, (low, path)), max(self._high, (high, path))
        if self._high[0] > _APART * self._low[0]:
            texts = [f"{moment:.15g} in {path}" for moment, path in (self._low, self._high)]
            raise DataError(f"the times are of different units, such as {' and '.join(texts)}: convert them to one.")
