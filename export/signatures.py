"""Concrete functions with checked inputs, from which the signatures of a servable are made."""

from collections.abc import Callable, Mapping, Sequence

import tensorflow as tf

Outputs = dict[str, tf.Tensor]

INPUTS = {
    "user_id": tf.TensorSpec([None], tf.string),
    "history": tf.TensorSpec([None, None], tf.string),
    "exclude": tf.TensorSpec([None, None], tf.string),
    "allow": tf.TensorSpec([None, None], tf.string),
    "candidates": tf.TensorSpec([None, None], tf.string),
    "item": tf.TensorSpec([None], tf.string),
    "k": tf.TensorSpec([None], tf.int32),
    "by": tf.TensorSpec([None], tf.string),
    "allow_category": tf.TensorSpec([None, None], tf.string),
    "per_category": tf.TensorSpec([None], tf.int32),
    "popularity_penalty": tf.TensorSpec([None], tf.float32),
    "diversity": tf.TensorSpec([None], tf.float32),
}
# Lists of ids, which the joined signatures take as one text a row.
LISTS = frozenset(["history", "exclude", "allow", "candidates", "allow_category"])
# Otherwise one long text would make all rows of its batch as long.
MOST_IDS = 1 << 14


def concrete(function: Callable[..., Outputs], names: Sequence[str]) -> Callable[..., Outputs]:
    """Returns the concrete function of some `INPUTS`, whose rows must be as many."""
    return _concrete(function, {name: INPUTS[name] for name in names})


def joined(
    function: Callable[..., Outputs],
    names: Sequence[str],
    split: Callable[[tf.Tensor], tf.Tensor],
    separator: str,
) -> Callable[..., Outputs]:
    """Returns a concrete function with each list of ids as one text a row.

    Args:
        function: As from `concrete`.
        names: Its inputs.
        split: From texts [B] to ids [B, W], as `split_ids`.
        separator: What joins the ids, which is an output too.
    """

    def of_texts(**inputs):
        ids = {name: split(inputs[name]) for name in names if name in LISTS}
        separators = tf.fill(tf.shape(inputs[names[0]])[:1], separator)
        return {**function(**{**inputs, **ids}), "separator": separators}

    text = tf.TensorSpec([None], tf.string)
    return _concrete(of_texts, {name: text if name in LISTS else INPUTS[name] for name in names})


def split_ids(texts: tf.Tensor, separator: str) -> tf.Tensor:
    """Returns the ids of each text, "" behind those of the shorter ones: string [B] -> [B, W]."""
    ids = tf.strings.split(texts, separator)
    return tf.cond(
        ids.bounding_shape(axis=1) > MOST_IDS, lambda: ids[:, -MOST_IDS:], lambda: ids
    ).to_tensor("")


def _concrete(function: Callable[..., Outputs], specs: Mapping[str, tf.TensorSpec]):
    names = list(specs)

    def checked(**inputs):
        # TensorFlow's C++ session compares no ranks, and a model that does not use users would not
        # notice a batch of users of another size.
        inputs = {name: tf.ensure_shape(value, specs[name].shape) for name, value in inputs.items()}
        rest = {name: _with_rows_of(inputs[names[0]], inputs[name]) for name in names[1:]}
        return function(**{**inputs, **rest})

    return tf.function(checked, autograph=False).get_concrete_function(**specs)


def _with_rows_of(first, value):
    """A value that must have as many rows as the first input, [B]."""
    if value.dtype == first.dtype and value.shape.rank == 2:
        return tf.concat([first[:, tf.newaxis], value], axis=1)[:, 1:]
    # TensorFlow removes a reshape that seems to change no shape, but not one to another rank.
    shape = tf.concat([tf.shape(first), tf.shape(value)[1:], [1]], axis=0)
    return tf.squeeze(tf.reshape(value, shape), axis=-1)
