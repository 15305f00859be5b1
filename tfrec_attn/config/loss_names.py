"""The losses by the names that `train.loss` takes.

The source of `losses/table.py` is parsed, not imported. Only `get`, `try_out` and losses of other
packages import TensorFlow.
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
    """Returns the literals in the source of the table; "LOSSES" is name -> kinds of batches."""
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
    """Returns all kinds of batches."""
    return _table()["BATCHES"]


def names() -> list[str]:
    """Returns the names that `train.loss` takes, except the form `package.module:function`."""
    built_in = list(_table()["LOSSES"])
    return [*built_in, *(one for one in LOSSES.installed() if one not in built_in)]


def is_foreign(name: str) -> bool:
    """Whether a loss belongs to another package."""
    return name not in _table()["LOSSES"]


def check(name: str) -> None:
    """Checks the name of a loss without importing the loss.

    Raises:
        ConfigError: If it is neither a known name nor of the form `package.module:function`.
    """
    if is_foreign(name) and LOSSES.target(name) is None:
        raise LOSSES.unknown(name, list(_table()["LOSSES"]))


def batches(name: str) -> tuple[str, ...]:
    """Returns the kinds of batches that a loss takes; a loss of another package is imported.

    Raises:
        ConfigError: As for `get`.
    """
    return get(name).batches if is_foreign(name) else _table()["LOSSES"][name]


def get(name: str):
    """Returns the `Loss` of a name.

    Raises:
        ConfigError: If there is no such loss, if its module cannot be imported, or if it is neither
            a `Loss` nor a function of (positive, negative, mask).
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
    """Calls a loss of another package once as training does: in a graph, with unknown shapes.

    Raises:
        ConfigError: If the loss fails, has no gradient, or returns another shape or type.
    """
    if not is_foreign(name):
        return
    import tensorflow as tf

    loss = get(name)
    learned, constant, keywords = _example_inputs(loss)
    if loss.of == "scores":
        result, expected = "the loss of each example", [3]
    else:
        result, expected = "the sum over the positions", []

    def value_and_gradients(*inputs):
        variables = inputs[: len(learned)]
        with tf.GradientTape() as tape:
            tape.watch(variables)
            value = tf.convert_to_tensor(loss.function(*inputs, **keywords))
        gradients = tape.gradient(value, variables) if value.dtype.is_floating else []
        return value, [one for one in gradients if one is not None]

    inputs = [*learned, *constant]
    shapes = ", ".join(str(one.shape.as_list()) for one in inputs)
    signature = [tf.TensorSpec([None] * len(one.shape), one.dtype) for one in inputs]
    traced = tf.function(value_and_gradients, input_signature=signature, autograph=False)
    try:
        value, gradients = traced(*inputs)
    except (Exception, SystemExit) as error:
        reason = cause(error, LOSSES.target(name))
        raise LOSSES.refusal(name, f"fails for inputs of the shapes {shapes}: {reason}") from None
    if value.dtype != tf.float32 or value.shape.as_list() != expected:
        raise LOSSES.refusal(
            name,
            f"must return {result}, {expected} of float32 for inputs of the shapes {shapes}, "
            f"but returns {value.shape.as_list()} of {value.dtype.name}",
        )
    if not gradients:
        raise LOSSES.refusal(name, "must depend on scores or vectors, but has no gradient")


def _example_inputs(loss: Any) -> tuple[list, list, dict[str, Any]]:
    """Returns small inputs of a loss: those with a gradient, the others, and keywords."""
    import tensorflow as tf

    values = {"margin": 0.5, "calibration": 0.75, "log_q": tf.zeros([4]), "num_items": 4}
    values |= {"score_penalty": 1.0, "softmax_precision": "float32"}
    keywords = {keyword: values[value] for keyword, value in loss.keywords.items()}
    scores = tf.reshape(tf.linspace(0.1, 0.9, 6), [3, 2])
    if loss.of == "scores":
        return [scores, tf.stack([scores] * 4, axis=2)], [tf.ones([3, 2], tf.bool)], keywords
    negatives = {"per_target": [[3, 2]], "shared": [[2]], "none": []}[loss.negatives]
    constant = [tf.constant([0, 2, 3]), *(tf.ones(shape, tf.int32) for shape in negatives)]
    return [scores, tf.ones([4, 2])], constant, {**keywords, "weights": tf.ones([3])}
