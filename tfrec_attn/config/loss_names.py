"""The losses by the names that `train.loss` takes; all but `get` do without TensorFlow, those of
other packages aside.
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
    """The literals that the source of the table of losses assigns, and "LOSSES": name -> batches
    that it takes.
    """
    literals = {}
    for node in ast.parse(_TABLE.read_text(encoding="utf-8")).body:
        if not isinstance(node, ast.Assign):
            continue
        name = ast.unparse(node.targets[0])
        if name != "LOSSES":
            literals[name] = ast.literal_eval(node.value)
            continue
        calls = zip(node.value.keys, node.value.values, strict=True)
        given = {
            key.value: next((one.value for one in call.keywords if one.arg == "batches"), None)
            for key, call in calls
        }
        default = literals["BATCHES"]
        literals[name] = {
            key: default if value is None else _literal(value, literals)
            for key, value in given.items()
        }
    return literals


def _literal(node: ast.expr, literals: dict[str, Any]) -> Any:
    return literals[node.id] if isinstance(node, ast.Name) else ast.literal_eval(node)


def all_batches() -> tuple[str, ...]:
    """Returns the kinds of batches that there are."""
    return _table()["BATCHES"]


def names() -> list[str]:
    """Returns the names that `train.loss` takes, without those of the form
    `package.module:function`.
    """
    built_in = list(_table()["LOSSES"])
    return [*built_in, *(one for one in LOSSES.installed() if one not in built_in)]


def is_foreign(name: str) -> bool:
    """Whether a loss is one of another package."""
    return name not in _table()["LOSSES"]


def check(name: str) -> None:
    """Whether `train.loss` can be a name; whether there is such a function shows when it is
    imported.

    Raises:
        ConfigError: If it is neither a known name nor of the form `package.module:function`.
    """
    if is_foreign(name) and LOSSES.target(name) is None:
        raise LOSSES.unknown(name, list(_table()["LOSSES"]))


def batches(name: str) -> tuple[str, ...]:
    """Returns the kinds of batches that a loss takes; one of another package is imported.

    Raises:
        ConfigError: As `get` says.
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
    """Calls a function of scores of another package once, on zeros: what it gives must be a loss of
    each example.

    Raises:
        ConfigError: If it fails, or if it gives something else.
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
            raise LOSSES.refusal(
                name,
                f"fails for scores and mask of the shapes {shapes}: {cause(error, LOSSES.target(name))}",
            ) from None
        if shape != [2]:
            raise LOSSES.refusal(
                name,
                f"must give the loss of each example, [2] for scores and mask of the shapes {shapes}, but gives {shape}",
            )
