"""What the layers share: calls without AutoGraph, and checks of constructor arguments."""

import inspect
import math
import numbers
from collections.abc import Callable
from typing import Any

import tensorflow as tf


def without_autograph(call: Callable) -> Callable:
    """Decorates the `call` of a layer whose Python branches do not depend on tensors.

    AutoGraph would rewrite the source of each layer, a third of the time to trace a training step.
    """
    wrapper = tf.autograph.experimental.do_not_convert(call)
    # Keras 2 reads which arguments a call takes, such as `mask`, without following wrappers.
    wrapper.__signature__ = inspect.signature(call)
    return wrapper


def positive_integer(name: str, value: Any, alternative: str = "") -> int:
    """Returns an argument as an int.

    Args:
        name: Name of the argument.
        value: Its value.
        alternative: End of the error's sentence about a value that the caller accepts beside.

    Raises:
        ValueError: If it is no integer of at least 1.
    """
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < 1:
        raise ValueError(f"`{name}` must be an integer of at least 1{alternative}; got {value!r}.")
    return int(value)


def real_number(name: str, value: Any, expected: str, accepts: Callable[[float], bool]) -> float:
    """Returns an argument as a float.

    Args:
        name: Name of the argument.
        value: Its value.
        expected: What the error says it must be.
        accepts: Tells whether a number is in the range.

    Raises:
        ValueError: If it is no real number or out of the range.
    """
    if not isinstance(value, numbers.Real) or isinstance(value, bool) or not accepts(value):
        raise ValueError(f"`{name}` must be {expected}; got {value!r}.")
    return float(value)


def positive_number(name: str, value: Any) -> float:
    """Returns an argument as a float; raises ValueError if it is not finite and above 0."""
    return real_number(name, value, "a finite number above 0", lambda x: 0 < x < math.inf)


def dropout_rate(value: Any) -> float:
    """Returns the argument `dropout` as a float; raises ValueError if it is not in [0, 1)."""
    return real_number("dropout", value, "a number in [0, 1)", lambda x: 0 <= x < 1)


def boolean(name: str, value: Any) -> bool:
    """Returns an argument; raises ValueError if it is not True or False."""
    if not isinstance(value, bool):
        raise ValueError(f"`{name}` must be True or False; got {value!r}.")
    return value
