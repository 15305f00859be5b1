"""Propagation of vectors along a graph of users and items."""

import numpy as np
import tensorflow as tf

from tfrec_attn.layers.support import Layer, positive_integer


@tf.keras.utils.register_keras_serializable(package="tfrec_attn")
class GraphPropagation(Layer):
    """Propagates user and item vectors along the edges between users and items.

        U^(k+1)_u = sum over the items i of u of V^(k)_i / sqrt(degree of u * degree of i)
        V^(k+1)_i = sum over the users u of i of U^(k)_u / sqrt(degree of u * degree of i)
        result = mean of U^(k), V^(k) over k = 0..K

    The layer has no weights. It multiplies by a symmetric matrix, so its gradient is the same
    propagation.

    Args:
        num_users: M.
        num_items: N.
        users: User 1..M of each edge, int [E].
        items: Item 1..N of each edge, int [E]. Repeated edges count once.
        num_layers: K. Default 3.

    Shapes:
        users [M + 1, D], items [N + 1, D], row 0 for padding -> the same. A row without an edge
        becomes 1 / (K + 1) of itself.

    Raises:
        ValueError: If there is no edge, an edge is outside the graph, or a number is not an integer
            of at least 1.

    Reference:
        He, Deng, Wang, Li, Zhang, Wang, "LightGCN: Simplifying and Powering Graph Convolution
        Network for Recommendation", SIGIR 2020 (arXiv 2002.02126), eq. 3 and 4.
    """

    def __init__(self, num_users, num_items, users, items, num_layers=3, **kwargs):
        # Autocasting would round the rows before the sums.
        super().__init__(autocast=False, **kwargs)
        self.num_users = positive_integer("num_users", num_users)
        self.num_items = positive_integer("num_items", num_items)
        self.num_layers = positive_integer("num_layers", num_layers)
        self.users, self.items = _edges(users, items, self.num_users, self.num_items)
        with tf.init_scope():  # A graph captures eager tensors instead of storing their values.
            self._to_users = _Sums(self.users, self.items, self.num_users, self.num_items)
            self._to_items = _Sums(self.items, self.users, self.num_items, self.num_users)
        self.built = True

    def call(self, users, items):
        @tf.custom_gradient
        def result(users, items):
            return self._mean(users, items), self._mean

        return result(users, items)

    def of_users(self, users):
        """Returns the result for users, with zeros as items, in half the time."""
        return self._mean(users, None)

    def of_items(self, items):
        """Returns the result for items, with zeros as users, in half the time."""
        return self._mean(None, items)

    def _mean(self, users, items):
        """Returns the means over k = 0..K of users and of items; None stands for zeros."""
        totals = [users, items]
        for _ in range(self.num_layers):
            # The new users come from the items, and the new items from the users.
            users, items = (
                None if items is None else self._to_users(items),
                None if users is None else self._to_items(users),
            )
            totals = [_add(*one) for one in zip(totals, (users, items), strict=True)]
        return tuple(total / (self.num_layers + 1) for total in totals)

    def get_config(self):
        users, items = self.users.tolist(), self.items.tolist()
        return {**super().get_config(), "users": users, "items": items}


def _add(first, second):
    """Returns a sum in which None stands for zeros."""
    if first is None or second is None:
        return second if first is None else first
    return first + second


class _Sums:
    """Sums the rows at the other ends of edges, divided by the square roots of both degrees.

    `others` int [E] are the rows that are summed, and `ends` int [E] the rows 1..count that get
    the sums.
    """

    def __init__(self, ends, others, count, count_of_others):
        order = np.argsort(ends, kind="stable")
        self._ends, self._others = (tf.constant(one[order]) for one in (ends, others))
        self._scale, self._scale_of_others = (
            tf.constant(1.0 / np.sqrt(np.maximum(degrees, 1)), tf.float32)[:, tf.newaxis]
            for degrees in (
                np.bincount(ends, minlength=count + 1),
                np.bincount(others, minlength=count_of_others + 1),
            )
        )

    def __call__(self, rows):
        sums = tf.sparse.segment_sum(
            rows * self._scale_of_others,
            self._others,
            self._ends,
            num_segments=tf.shape(self._scale)[0],
        )
        return sums * self._scale


def _edges(users, items, num_users, num_items):
    """Checks edges, and returns the distinct ones: (users int64 [E], items int64 [E])."""
    users, items = (np.asarray(one, np.int64).ravel() for one in (users, items))
    if not len(users) or len(users) != len(items):
        raise ValueError(
            f"`users` and `items` must be the two ends of one edge or more; got {len(users)} and "
            f"{len(items)}."
        )
    for name, ends, count in (("users", users, num_users), ("items", items, num_items)):
        if ends.min() < 1 or ends.max() > count:
            raise ValueError(f"`{name}` must be in 1..{count}; got {ends.min()}..{ends.max()}.")
    return np.divmod(np.unique(users * (num_items + 1) + items), num_items + 1)
