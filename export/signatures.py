"""Makes the signatures of a servable: concrete functions that check the shapes of their inputs."""

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
# Inputs that are lists of ids. The joined signatures take each list as one text a row.
LISTS = frozenset(["history", "exclude", "allow", "candidates", "allow_category"])
# Most ids of a joined list, because one long text pads all rows of its batch to its length.
MOST_IDS = 1 << 14


def concrete(function: Callable[..., Outputs], names: Sequence[str]) -> Callable[..., Outputs]:
    """Returns the concrete function of the named `INPUTS`, which must have the same batch size."""
    return _concrete(function, {name: INPUTS[name] for name in names})


def joined(
    function: Callable[..., Outputs],
    names: Sequence[str],
    split: Callable[[tf.Tensor], tf.Tensor],
    separator: str,
) -> Callable[..., Outputs]:
    """Returns a concrete function with each list of ids as one text a row.

    Args:
        function: A concrete function as from `concrete`.
        names: Names of its inputs.
        split: Function from texts [B] to ids [B, W], such as `split_ids`.
        separator: Character that joins the ids. It is an output too.
    """

    def of_texts(**inputs):
        ids = {name: split(inputs[name]) for name in names if name in LISTS}
        separators = tf.fill(tf.shape(inputs[names[0]])[:1], separator)
        return {**function(**{**inputs, **ids}), "separator": separators}

    text = tf.TensorSpec([None], tf.string)
    return _concrete(of_texts, {name: text if name in LISTS else INPUTS[name] for name in names})


def split_ids(texts: tf.Tensor, separator: str) -> tf.Tensor:
    """Splits texts into their ids, of which the last `MOST_IDS` stay: string [B] -> [B, W].

    Shorter rows are padded with "" on the right.
    """
    ids = tf.strings.split(texts, separator)
    return tf.cond(
        ids.bounding_shape(axis=1) > MOST_IDS, lambda: ids[:, -MOST_IDS:], lambda: ids
    ).to_tensor("")


def _concrete(function: Callable[..., Outputs], specs: Mapping[str, tf.TensorSpec]):
    names = list(specs)

    def checked(**inputs):
        # TensorFlow's C++ session does not check ranks, and a model that does not use users works
        # with another number of users.
        inputs = {name: tf.ensure_shape(value, specs[name].shape) for name, value in inputs.items()}
        rest = {name: _with_rows_of(inputs[names[0]], inputs[name]) for name in names[1:]}
        return function(**{**inputs, **rest})

    return tf.function(checked, autograph=False).get_concrete_function(**specs)


def _with_rows_of(first, value):
    """The value, with an operation that fails unless it has as many rows as `first`, [B]."""
    if value.dtype == first.dtype and value.shape.rank == 2:
        return tf.concat([first[:, tf.newaxis], value], axis=1)[:, 1:]
    # A reshape to another rank, because TensorFlow removes one that seems to keep the shape.
    shape = tf.concat([tf.shape(first), tf.shape(value)[1:], [1]], axis=0)
    return tf.squeeze(tf.reshape(value, shape), axis=-1)
