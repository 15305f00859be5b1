"""The losses by the names that `train.loss` takes.

Built-in losses are read from the source of their table, so only `get`, `try_out` and losses of
other packages import TensorFlow.
"""

import ast
import functools
import importlib
from pathlib import Path
from typing import Any

from tfrec_attn.extensions import LOSSES, cause

_TABLE = Path(__file__).parents[1] / "losses" / "table.py"


@functools.cache
def _table() -> dict[str, Any]:
    """Returns the literals of the source of the table, and "LOSSES": name -> kinds of batches."""
    body = ast.parse(_TABLE.read_text(encoding="utf-8")).body
    values = {ast.unparse(one.targets[0]): one.value for one in body if isinstance(one, ast.Assign)}
    losses = values.pop("LOSSES")
    literals = {name: ast.literal_eval(value) for name, value in values.items()}
    batches = {}
    for name, call in zip(losses.keys, losses.values, strict=True):
        value = next((one.value for one in call.keywords if one.arg == "batches"), None)
        if value is None:
            batches[name.value] = literals["BATCHES"]
        elif isinstance(value, ast.Name):
            batches[name.value] = literals[value.id]
        else:
            batches[name.value] = ast.literal_eval(value)
    return {**literals, "LOSSES": batches}


def all_batches() -> tuple[str, ...]:
    """Returns the kinds of batches that there are."""
    return _table()["BATCHES"]


def names() -> list[str]:
    """Returns the names that `train.loss` takes, except the form `package.module:function`."""
    built_in = list(_table()["LOSSES"])
    return [*built_in, *(one for one in LOSSES.installed() if one not in built_in)]


def is_foreign(name: str) -> bool:
    """Whether a loss is one of another package."""
    return name not in _table()["LOSSES"]


def check(name: str) -> None:
    """Checks the form of a name of `train.loss`, without importing it.

    Raises:
        ConfigError: If it is neither a known name nor of the form `package.module:function`.
    """
    if is_foreign(name) and LOSSES.target(name) is None:
        raise LOSSES.unknown(name, list(_table()["LOSSES"]))


def batches(name: str) -> tuple[str, ...]:
    """Returns the kinds of batches that a loss takes; imports one of another package.

    Raises:
        ConfigError: As for `get`.
    """
    return get(name).batches if is_foreign(name) else _table()["LOSSES"][name]


def get(name: str):
    """Returns the `Loss` of a name.

    Raises:
        ConfigError: If there is none, if its module cannot be imported, or if it is neither a
            `Loss` nor a function of (positive, negative, mask).
    """
    losses = importlib.import_module("tfrec_attn.losses")
    if not is_foreign(name):
        return losses.LOSSES[name]
    check(name)
    found = LOSSES.load(name, LOSSES.target(name))
    if not isinstance(found, losses.Loss) and not callable(found):
        raise LOSSES.refusal(
            name, f"must be a function or a tfrec_attn.losses.Loss, but is a {type(found).__name__}"
        )
    try:
        return losses.as_loss(found)
    except ValueError as error:
        raise LOSSES.refusal(name, f"cannot be used: {str(error).rstrip('.')}") from None


def try_out(name: str) -> None:
    """Calls a loss of scores of another package on zeros, to check the shape of its result.

    Raises:
        ConfigError: If it fails, or if it does not return the loss of each example.
    """
    loss = get(name)
    if not is_foreign(name) or loss.of != "scores" or loss.keywords:
        return
    import tensorflow as tf

    for targets in (3, 1):
        arguments = tf.zeros([2, 3]), tf.zeros([2, targets, 4]), tf.ones([2, 3], tf.bool)
        shapes = ", ".join(str(one.shape.as_list()) for one in arguments)
        try:
            shape = tf.convert_to_tensor(loss.function(*arguments)).shape.as_list()
        except Exception as error:
            reason = cause(error, LOSSES.target(name))
            raise LOSSES.refusal(
                name, f"fails for scores and mask of the shapes {shapes}: {reason}"
            ) from None
        if shape != [2]:
            raise LOSSES.refusal(
                name,
                f"must return the loss of each example, [2] for scores and mask of the shapes "
                f"{shapes}, but returns {shape}",
            )
