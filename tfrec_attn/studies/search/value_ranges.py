"""The values that a key is searched over: choices, or a range of numbers."""

import math
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Choices:
    """Values without an order.

    Attributes:
        choices: Numbers, texts, truth values or None.
    """

    choices: list[Any]

    @property
    def size(self) -> int:
        """The number of values."""
        return len(self.choices)

    def contains(self, value: Any) -> bool:
        """Whether a value is one of the choices."""
        return value in self.choices

    def value(self, drawn: Any) -> Any:
        """Returns the drawn value."""
        return drawn

    def distribution(self) -> Any:
        """Returns the distribution for Optuna."""
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(self.choices)

    def to_dict(self) -> dict[str, Any]:
        """Returns the section of the configuration."""
        return {"choices": self.choices}

    def __str__(self) -> str:
        return ", ".join("null" if one is None else str(one) for one in self.choices)


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included; integers if both ends are integers.

    Attributes:
        low: The smallest number.
        high: The largest number, a multiple of the step above `low`.
        step: Distance between the numbers. None (default): 1 for integers, else any number.
        log: Whether the logarithm is uniform. Default False.
    """

    low: float
    high: float
    step: float | None = None
    log: bool = False

    @property
    def size(self) -> float:
        """The number of values; infinite for real numbers without a step."""
        step = self.step or (1 if isinstance(self.low, int) else 0)
        return round((self.high - self.low) / step) + 1 if step else math.inf

    def contains(self, value: Any) -> bool:
        """Whether a value is in the range."""
        types = (int,) if isinstance(self.low, int) else (int, float)
        if type(value) not in types or not self.low <= value <= self.high:
            return False
        steps = (value - self.low) / self.step if self.step else 0.0
        return abs(steps - round(steps)) < 1e-8

    def value(self, drawn: float) -> float:
        """Rounds a drawn number to six significant digits, unless the range is too narrow."""
        is_narrow = self.high - self.low < 1e-3 * max(abs(self.low), abs(self.high))
        if isinstance(self.low, int) or is_narrow:
            return drawn
        return min(max(float(f"{drawn:.6g}"), self.low), self.high)

    def distribution(self) -> Any:
        """Returns the distribution for Optuna."""
        from optuna.distributions import FloatDistribution, IntDistribution

        if isinstance(self.low, int):
            return IntDistribution(self.low, self.high, log=self.log, step=self.step or 1)
        return FloatDistribution(self.low, self.high, log=self.log, step=self.step)

    def to_dict(self) -> dict[str, Any]:
        """Returns the section of the configuration."""
        section = {"low": self.low, "high": self.high}
        section |= {"step": self.step} if self.step else {}
        return section | ({"log": True} if self.log else {})

    def __str__(self) -> str:
        step = f" in steps of {self.step:g}" if self.step else ""
        return f"{self.low:g} to {self.high:g}{step}{' (log)' if self.log else ''}"


ValueRange = Choices | Range
