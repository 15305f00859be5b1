"""Helpers of the layers: their base, checks of arguments, parts of attention."""

import inspect
import math
import numbers
from collections.abc import Callable
from typing import Any

import tensorflow as tf


class Layer(tf.keras.layers.Layer):
    """A layer that keeps each argument of its constructor as an attribute of that name.

    AutoGraph does not convert its `call`, so `call` must not branch on tensors in Python. The
    conversion would take a third of the time to trace a training step.
    """

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if "call" in vars(cls):
            cls.call = without_autograph(cls.call)

    def get_config(self):
        return {**super().get_config(), **kept_arguments(self)}


def without_autograph(call: Callable) -> Callable:
    """Returns the `call` of a layer, excluded from conversion by AutoGraph."""
    wrapper = tf.autograph.experimental.do_not_convert(call)
    # Keras 2 reads which arguments a call takes, such as `mask`, without following wrappers.
    wrapper.__signature__ = inspect.signature(call)
    return wrapper


def parameters_of(cls: type) -> list[inspect.Parameter]:
    """Returns the named parameters of a constructor."""
    found = list(inspect.signature(cls.__init__).parameters.values())[1:]
    return [one for one in found if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]


def kept_arguments(made: Any) -> dict[str, Any]:
    """Returns the arguments of an object's constructor, by name.

    Raises:
        TypeError: If one is not an attribute of the object.
    """
    names = [one.name for one in parameters_of(type(made))]
    missing = [name for name in names if not hasattr(made, name)]
    if missing:
        raise TypeError(
            f"{type(made).__name__} must keep its argument {missing[0]} as an attribute of that "
            "name to be saved."
        )
    return {name: getattr(made, name) for name in names}


def positive_integer(name: str, value: Any, none: str | None = None) -> int | None:
    """Returns an argument as an int, or None.

    Args:
        name: Name of the argument.
        value: Its value.
        none: Purpose of None in the error message. By default None is not allowed.

    Raises:
        ValueError: If it is no integer of at least 1.
    """
    if value is None and none is not None:
        return None
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < 1:
        alternative = "" if none is None else f", or None {none}"
        raise ValueError(f"`{name}` must be an integer of at least 1{alternative}; got {value!r}.")
    return int(value)


def real_number(name: str, value: Any, expected: str, accepts: Callable[[float], bool]) -> float:
    """Returns an argument as a float.

    Args:
        name: Name of the argument.
        value: Its value.
        expected: Allowed range, in the words of the error message.
        accepts: Returns whether a number is in this range.

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


def input_width(shape: Any) -> int:
    """Returns D of inputs [B, L, D]; raises ValueError if they have another rank or no known D."""
    shape = tf.TensorShape(shape)
    if shape.rank != 3 or shape[-1] is None:
        raise ValueError(f"`inputs` must have the shape [B, L, D] with a known D; got {shape}.")
    return shape[-1]


def width_of_heads(shape: Any, heads: int) -> int:
    """Returns D as `input_width` does; raises ValueError if `num_heads` does not divide it."""
    width = input_width(shape)
    if width % heads:
        raise ValueError(f"`num_heads` must divide the width of `inputs`, {width}; got {heads}.")
    return width


def as_mask(mask: Any) -> tf.Tensor | None:
    """Returns the argument `mask` as bool, int or None; raises ValueError if it is not of rank 2.

    An integer mask numbers the sequences of each row, with 0 at padding.
    """
    if mask is None:
        return None
    mask = tf.convert_to_tensor(mask)
    mask = mask if mask.dtype.is_integer else tf.cast(mask, tf.bool)
    if mask.shape.rank != 2:
        raise ValueError(
            f"`mask` must have the shape [B, L], True for a real event; got {mask.shape}."
        )
    return mask


def real_events(mask: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Returns a mask, bool or int [B, L], as [B, L, 1] with 1 at real events, else 0."""
    return tf.cast(tf.cast(mask, tf.bool), dtype)[:, :, tf.newaxis]


def build_parts(parts: list[tf.keras.layers.Layer], input_shape: Any) -> None:
    """Builds layers with the same input shape, each in a name scope of its name."""
    for part in parts:
        with tf.name_scope(part.name):
            part.build(input_shape)


def add_projection(
    layer: tf.keras.layers.Layer, name: str, inputs: int, units: int, use_bias: bool = True
) -> None:
    """Adds the weights `NAME_kernel` [inputs, units] and `NAME_bias` [units] to a layer.

    The kernel is drawn by Glorot's uniform initialiser; the bias is 0.
    """
    kernel = layer.add_weight(
        name=f"{name}_kernel", shape=(inputs, units), initializer="glorot_uniform"
    )
    setattr(layer, f"{name}_kernel", kernel)
    if use_bias:
        bias = layer.add_weight(name=f"{name}_bias", shape=(units,), initializer="zeros")
        setattr(layer, f"{name}_bias", bias)


def add_and_norm(
    norm: tf.keras.layers.Layer,
    dropout: tf.keras.layers.Layer,
    x: tf.Tensor,
    change: tf.Tensor,
    training: bool | None,
) -> tf.Tensor:
    """Returns norm(x + dropout(change)) in the dtype of x."""
    return tf.cast(norm(x + dropout(change, training=training)), x.dtype)


def fresh(initializer: Any) -> Any:
    """Returns a copy of an initializer; a shared unseeded instance would give equal kernels."""
    if not hasattr(initializer, "get_config"):
        return initializer
    return type(initializer).from_config(initializer.get_config())


def project(x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor | None = None) -> tf.Tensor:
    """Returns `x kernel + bias`, [..., D] -> [..., U].

    For small kernels it is faster than `tf.einsum`, whose gradient makes one product for each
    example. It has fewer operations than `tf.tensordot`.
    """
    flat = tf.matmul(x if x.shape.rank == 2 else tf.reshape(x, [-1, x.shape[-1]]), kernel)
    if bias is not None:
        flat = tf.nn.bias_add(flat, bias)
    inner = x.shape[1:-1].as_list()
    if None in inner:
        return tf.reshape(flat, tf.concat([tf.shape(x)[:-1], [flat.shape[-1]]], axis=0))
    # Sizes that are known need no operations.
    return tf.reshape(flat, [-1, *inner, flat.shape[-1]]) if inner else flat


def apply_blocks(
    blocks: list, x: tf.Tensor, latest_only: bool, **arguments: Any
) -> tuple[tf.Tensor, tf.Tensor]:
    """Applies blocks with attention one after the other.

    Args:
        blocks: Layers that take `mask`, `training`, `return_attention_scores` and `latest_only`.
        x: Input of the first block, [B, L, D].
        latest_only: Whether the last block computes only the latest position.
        **arguments: `mask` and `training`.

    Returns:
        (outputs [B, L, D], absolute scores of the last block, averaged over its heads,
        [B, L, L]); with `latest_only`, [B, 1, D] and [B, 1, L].
    """
    *earlier, last = blocks
    for block in earlier:
        x = block(x, **arguments)
    x, scores = last(x, return_attention_scores=True, latest_only=latest_only, **arguments)
    # Scores of opposite sign, which only HSTU has, would cancel.
    return x, tf.reduce_mean(tf.abs(scores), axis=1)


def split_heads(x: tf.Tensor, num_heads: int) -> tf.Tensor:
    """Returns [B, L, D] as [B, H, L, D / H]; one head needs no transpose."""
    if num_heads == 1:
        return tf.expand_dims(x, 1)
    shape = tf.concat([tf.shape(x)[:2], [num_heads, x.shape[-1] // num_heads]], axis=0)
    return tf.transpose(tf.reshape(x, shape), [0, 2, 1, 3])


def merge_heads(x: tf.Tensor) -> tf.Tensor:
    """Returns [B, H, L, D / H] as [B, L, D]."""
    if x.shape[1] == 1:
        return tf.squeeze(x, 1)
    width = x.shape[1] * x.shape[-1]
    x = tf.transpose(x, [0, 2, 1, 3])
    return tf.reshape(x, tf.concat([tf.shape(x)[:2], [width]], axis=0))


def pad_left(ids: tf.Tensor, length: int) -> tf.Tensor:
    """Returns ids [B, L], L at most `length`, as [B, length] with 0 on the left."""
    rows, columns = tf.unstack(tf.shape(ids))
    # tf.pad has no GPU kernel for int64.
    padded = tf.concat([tf.zeros([rows, length - columns], ids.dtype), ids], axis=1)
    return tf.ensure_shape(padded, [None, length])


def visible_keys(
    length: tf.Tensor, mask: tf.Tensor | None, causal: bool, latest_only: bool
) -> tf.Tensor | None:
    """Returns which keys a query attends to, bool, broadcastable to [B, H, L, L]; None: all.

    Args:
        length: L.
        mask: As `as_mask` returns it; None: all events are real.
        causal: Whether position t attends only to positions up to t.
        latest_only: Whether the only query is that of the latest position.
    """
    visible = None if mask is None else mask[:, tf.newaxis, tf.newaxis, :]
    if mask is not None and mask.dtype != tf.bool:
        queries = (mask[:, -1:] if latest_only else mask)[:, tf.newaxis, :, tf.newaxis]
        visible = (visible > 0) & (visible == queries)
    if not causal or latest_only:
        return visible
    position = tf.range(tf.cast(length, tf.int64))
    earlier = position[:, tf.newaxis] >= position
    return earlier if visible is None else visible & earlier
