"""Sampled items that a user has not touched in training."""

import numpy as np
import tensorflow as tf

from tfrec_attn.data.sequences.splits import Split


class NegativeSampler:
    """Draws items that a user has not touched in training, uniformly and without rejection.

    With the user's c touched items sorted, s_0 < s_1 < ..., exactly s_j - 1 - j untouched items
    stand before s_j. So the r-th untouched item (r from 0) is r + 1 + |{j: s_j - 1 - j <= r}|, and
    that count is one binary search in one array for all users. A user who has touched every item
    gets any item.

    Args:
      split: its training events count as touched; held-out events do not, since a sampler that
          avoids them would tell the answer.
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

    def __call__(self, users, seed, part=0, parts=1):
        """Items of rows of users: int32 [R, ...] (1-based) and a stateless seed [2] -> int32 [R,
        ...].

        Where the rows are one of equal parts of a batch, their items are those that they have in
        the batch.
        """
        row = tf.cast(users, tf.int64) - 1
        untouched = tf.gather(self._untouched, row)
        count = tf.shape(row)[0]
        shape = tf.concat([[parts * count], tf.shape(row)[1:]], axis=0)
        draws = (
            tf.random.stateless_uniform(shape, seed, maxval=None, minval=None, dtype=tf.int64)
            & tf.int64.max
        )
        draws = draws[part * count : (part + 1) * count]
        rank = draws % tf.where(untouched > 0, untouched, self.num_items)
        query = row * (self.num_items + 1) + rank
        found = tf.searchsorted(
            self._keys, tf.reshape(query, [-1]), side="right", out_type=tf.int64
        )
        skipped = tf.reshape(found, tf.shape(row)) - tf.gather(self._first, row)
        return tf.cast(rank + 1 + tf.where(untouched > 0, skipped, 0), tf.int32)
