"""Sampled items without a training event of the user."""

import numpy as np
import tensorflow as tf

from tfrec_attn.data.sequences.splits import Split


class NegativeSampler:
    """Draws items without a training event of the user, uniformly and without rejection.

    Let s_0 < s_1 < ... be the training items of a user. Exactly s_j - 1 - j other items are smaller
    than s_j, so the r-th other item (r from 0) is r + 1 + |{j: s_j - 1 - j <= r}|. One binary
    search in an array of all users finds this count. If a user has all items, any item is drawn.

    Args:
        split: The split. Items of held-out events can be drawn, because a sampler that avoids them
            would reveal the targets.
    """

    def __init__(self, split: Split):
        sequences = split.sequences
        self.num_items = sequences.num_items
        users = sequences.users().astype(np.int64) - 1
        train = np.arange(len(users)) < split.train_end[users]
        keys = np.unique(users[train] * (self.num_items + 1) + sequences.items[train])
        user, item = np.divmod(keys, self.num_items + 1)
        first = np.searchsorted(user, np.arange(sequences.num_users + 1))
        before = item - 1 - (np.arange(len(keys)) - first[user])
        self._keys = tf.constant(user * (self.num_items + 1) + before, tf.int64)
        self._first = tf.constant(first[:-1], tf.int64)
        self._untouched = tf.constant(self.num_items - np.diff(first), tf.int64)

    def __call__(
        self, users: tf.Tensor, seed: tf.Tensor, part: int = 0, parts: int = 1
    ) -> tf.Tensor:
        """Draws an item for each user.

        Args:
            users: User indices, int32 [R, ...].
            seed: A stateless seed, int64 [2].
            part: Index of the part of the batch that has the R rows. Default 0.
            parts: Number of equal parts of the batch. A row gets the same items in a part as in the
                whole batch. Default 1.

        Returns:
            Item indices, int32 [R, ...].
        """
        row = tf.cast(users, tf.int64) - 1
        untouched = tf.gather(self._untouched, row)
        count = tf.shape(row)[0]
        draws = nonnegative_draws(tf.concat([[parts * count], tf.shape(row)[1:]], axis=0), seed)
        draws = draws[part * count : (part + 1) * count]
        rank = draws % tf.where(untouched > 0, untouched, self.num_items)
        query = tf.reshape(row * (self.num_items + 1) + rank, [-1])
        found = tf.searchsorted(self._keys, query, side="right", out_type=tf.int64)
        skipped = tf.reshape(found, tf.shape(row)) - tf.gather(self._first, row)
        return tf.cast(rank + 1 + tf.where(untouched > 0, skipped, 0), tf.int32)


def nonnegative_draws(shape: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Draws integers from 0 to 2^63 - 1, int64."""
    draws = tf.random.stateless_uniform(shape, seed, maxval=None, minval=None, dtype=tf.int64)
    return draws & tf.int64.max
