"""Writes and reads the weights of a model and the state of its optimizer, by name.

A file is a checkpoint of TensorFlow. The name of a weight is the path of attributes to it, such as
`blocks/0/norm/gamma`. The name of a slot of the optimizer contains the name of its weight. So a
checkpoint does not depend on the version of Keras that wrote it.
"""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfrec_attn.keras_versions import keras
from tfrec_attn.keras_versions.variables import variable_of

# Prefixes of the keys of a checkpoint that are not weights.
_OF_TRAINING = ("optimizer/", "save_counter/", "_loss_metric/", "_ranking_metrics/")
# Attributes of an optimizer that contain other attributes or follow from them.
_NO_STATE = ("_variables", "_trainable_variables", "_current_learning_rate")


def named_weights(model: Any) -> dict[str, tf.Variable]:
    """Returns all weights of a model by name, without the states of its metrics."""
    return dict(_weights(model, "", _attributes_of_keras(), set()))


def unnamed_weights(model: Any) -> list[str]:
    """Returns Keras' names of the weights that `named_weights`, and so a checkpoint, lacks.

    Args:
        model: A model that is not compiled.
    """
    named = {variable.ref() for variable in named_weights(model).values()}
    return [one.name for one in model.weights if variable_of(one).ref() not in named]


def named_state(model: Any, optimizer: Any) -> dict[str, tf.Variable]:
    """Returns the state of an optimizer by name, without the state of the loss scaling.

    Args:
        model: The model that the optimizer is built for.
        optimizer: A Keras optimizer.
    """
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    names = {id(variable): name for name, variable in named_weights(model).items()}
    trained = [names[id(variable_of(one))] for one in model.trainable_variables]
    # SGD without momentum has unused slots in Keras 2, and no slots in Keras 3.
    skipped = (*_NO_STATE, *(["momentums"] if getattr(inner, "momentum", None) == 0 else []))
    found = {}
    for attribute, value in vars(inner).items():
        name = attribute.lstrip("_")
        if attribute in skipped:
            continue
        if isinstance(value, keras.VARIABLES):
            found[name] = variable_of(value)
        elif isinstance(value, (list, tuple)) and len(value) == len(trained):
            for weight, slot in zip(trained, value, strict=True):
                if isinstance(slot, keras.VARIABLES):
                    found[f"{name}/{weight}"] = variable_of(slot)
    return found


def write(path: Path, model: Any) -> None:
    """Writes the weights of a model, and the state of its optimizer if it is compiled."""
    tree, optimizer = _tree(named_weights(model)), getattr(model, "optimizer", None)
    if optimizer is not None:
        tree.optimizer = _state(model, optimizer)
    tree.write(str(path))


def read(path: Path, model: Any, optimizer: Any = None) -> None:
    """Reads the weights of a model, and the state of an optimizer that is built for it.

    Args:
        path: Prefix of the files of the checkpoint.
        model: The model.
        optimizer: The optimizer, or None (default) to read only the weights.

    Raises:
        AssertionError: If the checkpoint lacks a variable.
        ValueError: If a variable has another shape.
        Exception: Various errors of TensorFlow if a file is damaged.
    """
    tree = _tree(named_weights(model))
    if optimizer is not None:
        tree.optimizer = _state(model, optimizer)
    _read(tree, path)


def read_optimizer(path: Path, model: Any, optimizer: Any) -> None:
    """Reads the state of an optimizer that is built for a model; raises the errors of `read`."""
    tree = tf.train.Checkpoint()
    tree.optimizer = _state(model, optimizer)
    _read(tree, path)


def saved_weights(path: Path) -> list[str]:
    """Returns the keys of the weights in a checkpoint."""
    names = [name for name, _ in tf.train.list_variables(str(path))]
    weights = [one for one in names if one.endswith("VARIABLE_VALUE")]
    return [one for one in weights if not one.startswith(_OF_TRAINING)]


@functools.cache
def _attributes_of_keras() -> set[str]:
    # Creates no counters of Keras, which all workers of a cluster would have to create together.
    with tf.variable_creator_scope(lambda _, **__: 0):
        bare = (tf.keras.Model(name="model"), tf.keras.layers.Layer(name="layer"))
    return {attribute for one in bare for attribute in vars(one)}


def _weights(part: Any, path: str, of_keras: set, seen: set) -> Iterator[tuple[str, tf.Variable]]:
    """Yields (name, weight) of a part of a model, without the parts in `seen`."""
    if id(part) in seen or isinstance(part, tf.keras.metrics.Metric):
        return
    seen.add(id(part))
    if isinstance(part, keras.VARIABLES):
        yield path, variable_of(part)
    for name, child in _children(part, of_keras):
        yield from _weights(child, f"{path}/{name}" if path else name, of_keras, seen)


def _children(part: Any, of_keras: set) -> Iterator[tuple[str, Any]]:
    if isinstance(part, (list, tuple)):
        yield from ((str(number), child) for number, child in enumerate(part))
    elif isinstance(part, dict):
        yield from ((str(key), child) for key, child in part.items())
    elif isinstance(part, (tf.keras.layers.Layer, tf.Module)) and not _is_made_by_keras(part):
        for attribute, child in list(vars(part).items()):
            is_of_keras = attribute in of_keras or attribute.startswith("_self_")
            # A layer can have the name of a public attribute of Keras, such as `inputs`.
            if not (is_of_keras and attribute.startswith("_")):
                yield _public(part, attribute), child
    if isinstance(part, tf.keras.Model):
        yield from ((f"layer-{number}", child) for number, child in enumerate(part.layers))


def _is_made_by_keras(part: Any) -> bool:
    """Whether a layer is a sequential or functional model, which has only attributes of Keras."""
    return isinstance(part, tf.keras.Model) and "keras" in type(part).__module__.split(".")[0]


def _public(part: Any, attribute: str) -> str:
    """The name of a property for its private attribute: `kernel` for `_kernel`."""
    name = attribute.removeprefix("_")
    return name if isinstance(getattr(type(part), name, None), property) else attribute


def _state(model: Any, optimizer: Any) -> tf.train.Checkpoint:
    """The state of an optimizer as a checkpoint, with the state of the loss scaling."""
    tree = _tree(named_state(model, optimizer))
    scale = keras.loss_scale_state(optimizer)
    if scale is not None:
        tree.loss_scale = scale
    return tree


def _tree(named: dict[str, tf.Variable]) -> tf.train.Checkpoint:
    """Makes a checkpoint from variables, with a node for each part of their names."""
    tree, inside = tf.train.Checkpoint(), {}
    for name, variable in named.items():
        first, _, rest = name.partition("/")
        if rest:
            inside.setdefault(first, {})[rest] = variable
        else:
            setattr(tree, first, variable)
    for first, rest in inside.items():
        setattr(tree, first, _tree(rest))
    return tree


def _read(tree: tf.train.Checkpoint, path: Path) -> None:
    tree.read(str(path)).expect_partial().assert_existing_objects_matched()
