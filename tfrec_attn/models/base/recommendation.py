"""Recommendations for histories of ids, in Python."""

import numpy as np
import tensorflow as tf

from tfrec_attn.data.sequences.vocabulary import Vocabulary
from tfrec_attn.evaluation.held_out import block_size
from tfrec_attn.layers.embedding_table import reading_in_place
from tfrec_attn.models.base.untrained import FLOOR


def as_vocabulary(name, ids, count):
    """Returns ids as a `Vocabulary`.

    Args:
        name: "users" or "items".
        ids: A `Vocabulary`, or the ids in the order of the model's rows.
        count: Number of rows.

    Raises:
        ValueError: If the number of ids is not `count`.
        DataError: If an id comes twice, is empty or has a line break.
    """
    vocabulary = ids if isinstance(ids, Vocabulary) else Vocabulary([str(one) for one in ids])
    if len(vocabulary) != count:
        raise ValueError(
            f"{name} must be {count} ids, one for each row of the model in order, "
            f"but are {len(vocabulary)}."
        )
    return vocabulary


def recommend(model, histories, k, users, exclude_seen):
    """Returns the k best items for each history; see `SequenceModel.recommend`."""
    exclude_seen = model.repeats == "exclude" if exclude_seen is None else exclude_seen
    if not isinstance(k, (int, np.integer)) or k < 1:
        raise ValueError(f"k must be an integer of at least 1, but is {k!r}.")
    histories = list(histories)
    for one in histories:
        if isinstance(one, (str, bytes)) or not np.iterable(one):
            raise ValueError(
                f"histories must be a list of lists of ids, but has {one!r}; write [[{one!r}]]."
            )
    encoded = [
        rows_of("histories", one, model.item_vocabulary, model.num_items) for one in histories
    ]
    encoded = [known[known > 0] for known in encoded]
    user = np.zeros(len(encoded), np.int32)
    if users is not None:
        user = rows_of("users", users, model.user_vocabulary, model.num_users)
    if len(user) != len(encoded):
        raise ValueError(
            f"users must name one user for each history, but has {len(user)} for {len(encoded)} "
            "histories."
        )
    k = tf.constant(min(k, model.num_items))
    items, scores, size = [], [], block_size(model.num_items)
    for begin in range(0, len(encoded), size):
        block = slice(begin, begin + size)
        history, seen = _padded(encoded[block], model, exclude_seen)
        inputs = (tf.constant(one) for one in (user[block], history, seen))
        values, indices = _traced(model)(*inputs, k)
        for row_values, row_indices in zip(values.numpy(), indices.numpy(), strict=True):
            real = row_values > FLOOR
            items.append(ids_of(row_indices[real], model.item_vocabulary))
            scores.append(row_values[real].tolist())
    return items, scores


def _traced(model):
    """Returns the `top_k` of a model, traced once for any number of histories."""
    if model.traced_top_k is None:
        rows, table, scalar = (
            tf.TensorSpec(shape, tf.int32) for shape in ([None], [None, None], [])
        )
        history = tf.TensorSpec([None, model.max_length], tf.int32)
        top_k, signature = reading_in_place()(model.top_k), [rows, history, table, scalar]
        traced = tf.function(top_k, input_signature=signature, autograph=False)
        # A concrete function does not look for a trace, which takes a third of the time of a call.
        concrete = traced.get_concrete_function()
        # A closure: Keras would save the function with the model.
        model.traced_top_k = lambda *inputs: concrete(*inputs)
    return model.traced_top_k


def best_unseen(scores, seen, k):
    """Returns the k best items of each row that are not in `seen`.

    Args:
        scores: Float32 [B, N], column j - 1 for item j.
        seen: Excluded items, int32 [B, S]; 0 is padding.
        k: Scalar, at most N.

    Returns:
        (scores float32 [B, k], items int32 [B, k]); the score of excluded items is the lowest
        float.
    """
    scores = tf.pad(scores, [[0, 0], [1, 0]], constant_values=scores.dtype.min)
    rows = tf.range(tf.shape(seen)[0])[:, tf.newaxis] + tf.zeros_like(seen)
    index = tf.stack([rows, seen], axis=-1)
    lowest = tf.fill(tf.shape(seen), scores.dtype.min)
    scores = tf.tensor_scatter_nd_update(scores, index, lowest)
    return tf.math.top_k(scores, k)


def rows_of(name, ids, vocabulary, count):
    """Returns the rows of ids, int32, 0 for unknown ids."""
    if vocabulary is not None:
        return vocabulary.lookup([str(one) for one in ids])
    ids = list(ids)
    values = np.asarray(ids)
    if values.size and not np.issubdtype(values.dtype, np.integer):
        raise ValueError(
            f"{name} must be integers from 1 to {count} until set_vocabularies names the ids, "
            f"but have {ids[0]!r}."
        )
    return np.where((values > 0) & (values <= count), values, 0).astype(np.int32)


def ids_of(indices, vocabulary):
    """Returns the ids of rows 1..N; without a vocabulary, they are the rows themselves."""
    return indices.tolist() if vocabulary is None else vocabulary.ids(indices)


def _padded(histories, model, exclude_seen):
    """Returns the latest trained items [B, L], padded on the left, and excluded items [B, S]."""
    length, trained = model.max_length, model.trained_items
    latest = np.zeros((len(histories), length), np.int32)
    seen = np.zeros((len(histories), max(map(len, histories), default=0)), np.int32)
    for row, known in enumerate(histories):
        part = (known if trained is None else known[trained[known - 1]])[-length:]
        latest[row, length - len(part) :] = part
        seen[row, : len(known)] = known if exclude_seen else 0
    return latest, seen
