"""Sparse rows of neighbours: what the items of a history add to the scores of others."""

import numpy as np
import tensorflow as tf

from tfrec_attn.layers.support import Layer, positive_integer, real_number


@tf.keras.utils.register_keras_serializable(package="tfrec_attn")
class ItemNeighbours(Layer):
    """Sums the neighbour rows of the items of a history; later items count more.

        T_j = sum over p = 1..L of R[h_p, j] / p^recency,   h_1 is the latest item

    The rows R have at most K items each. They are not trained: `set_rows` sets them.

    Args:
        num_items: N.
        neighbours: K, largest number of items in a row. Values above N have the same effect as N.
        recency: Exponent of the position, from 0 (all items count alike) to 100. Default 1.

    Attributes:
        width: Number of columns of the rows, the smaller of K and N.

    Shapes:
        history int [B, L], 0 is padding on the left -> (items [B, P] of the same dtype, T float32
        [B, P]). The items of each row are unique, with 0 as padding.

    Raises:
        ValueError: If an argument is not in its range.
    """

    def __init__(self, num_items, neighbours, recency=1.0, **kwargs):
        super().__init__(**{"dtype": "float32", **kwargs})
        self.num_items = positive_integer("num_items", num_items)
        self.neighbours = positive_integer("neighbours", neighbours)
        self.recency = real_number("recency", recency, "from 0 to 100", lambda x: 0 <= x <= 100)
        shape = (self.num_items + 1, min(self.neighbours, self.num_items))
        self.width = shape[1]
        self.items, self.values = (
            self.add_weight(
                name=name, shape=shape, dtype=dtype, initializer="zeros", trainable=False
            )
            for name, dtype in (("items", "int32"), ("values", "float32"))
        )
        self.built = True

    def set_rows(self, items: np.ndarray, values: np.ndarray) -> None:
        """Sets the rows.

        Args:
            items: Items 1..N, unique in each row, int [N + 1, width]; 0 is padding.
            values: Values of the items, float [N + 1, width]; 0 at padding.
        """
        self.items.assign(items)
        self.values.assign(values)

    def permute(self, order: np.ndarray) -> None:
        """Renumbers the items: new item i + 1 is the previous item order[i] + 1, int [N]."""
        rows = np.concatenate([[0], np.asarray(order) + 1])
        number = np.argsort(rows)
        items, values = (np.asarray(one)[rows] for one in (self.items, self.values))
        self.set_rows(number[items], values)

    def call(self, history):
        # A GPU cannot gather from an int32 variable, only from a tensor.
        items = tf.cast(tf.gather(tf.convert_to_tensor(self.items), history), history.dtype)
        values = tf.gather(self.values, history)
        position = tf.cast(tf.range(tf.shape(history)[1], 0, -1), tf.float32)
        values *= (position**-self.recency)[:, tf.newaxis]
        shape = tf.stack([tf.shape(history)[0], tf.size(position) * items.shape[2]])
        items, values = tf.reshape(items, shape), tf.reshape(values, shape)
        # Summing over all items takes less time than sorting, unless N is far above `columns`.
        columns = (history.shape[1] or tf.shape(history)[1]) * self.width
        has_few_columns = 4 * columns < self.num_items

        def by_item():
            return sum_by_item(items, values)

        def of_all():
            return sum_of_all(items, values, self.num_items)

        if tf.is_tensor(has_few_columns):
            return tf.cond(has_few_columns, by_item, of_all)
        return by_item() if has_few_columns else of_all()


def sum_of_all(items: tf.Tensor, values: tf.Tensor, num_items: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Adds the values of equal items in each row, in a table of all items.

    Args:
        items: Int [B, P]; 0 is padding.
        values: Float32 [B, P].
        num_items: N.

    Returns:
        (items int [B, N], values float32 [B, N]): item j in column j - 1, or 0 where its sum is 0.
    """
    sums = sum_at(items, values, num_items + 1)[:, 1:]
    numbers = tf.range(1, num_items + 1, dtype=items.dtype)
    return tf.where(sums != 0.0, numbers, tf.zeros_like(numbers)), sums


def sum_by_item(items: tf.Tensor, values: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Adds the values of equal items in each row, after sorting the items.

    Args:
        items: Int [B, P]; 0 is padding.
        values: Float32 [B, P].

    Returns:
        (items int [B, P'], values float32 [B, P']): the distinct items of each row, ascending,
        with 0 as padding, and their sums, 0 at padding.
    """
    order = tf.argsort(items, axis=1)
    items, values = (tf.gather(one, order, batch_dims=1) for one in (items, values))
    # tf.pad has no GPU kernel for int64.
    before = tf.concat([tf.zeros_like(items[:, :1]), items[:, :-1]], axis=1)
    is_first = (items != before) & (items > 0)
    return _in_places(is_first, items, values)


def drop_padding(items: tf.Tensor, values: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Moves the items of each row to the left, in their order.

    Args:
        items: Int [B, P]; 0 is padding.
        values: Float32 [B, P].

    Returns:
        (items int [B, P'], values float32 [B, P']); P' is the largest number of items of a row.
    """
    is_listed = items > 0
    return _in_places(is_listed, items, tf.where(is_listed, values, 0.0))


def _in_places(is_first, items, values):
    """Returns the items at marked columns, and for each the sum of values up to the next mark."""
    # Places begin at 1. Columns before the first mark have place 0, which is cut off.
    place = tf.cumsum(tf.cast(is_first, tf.int64), axis=1)
    width = tf.maximum(tf.reduce_max(place), 0) + 1
    listed, summed = (
        sum_at(place, one, width)[:, 1:] for one in (tf.where(is_first, items, 0), values)
    )
    return listed, summed


def sum_at(columns: tf.Tensor, values: tf.Tensor, width: int | tf.Tensor) -> tf.Tensor:
    """Adds the values of each row at their columns: out[b, c] = sum of values[b] with column c.

    Args:
        columns: Int [B, P], from 0 to `width` - 1.
        values: [B, P].
        width: Number of columns of the result, W.

    Returns:
        [B, W], of the type of the values.
    """
    batch, width = tf.shape(columns, tf.int64)[0], tf.cast(width, tf.int64)
    index = tf.range(batch)[:, tf.newaxis] * width + tf.cast(columns, tf.int64)
    values, index = tf.reshape(values, [-1]), tf.reshape(index, [-1])
    # This takes half the time of tf.scatter_nd.
    sums = tf.math.unsorted_segment_sum(values, index, batch * width)
    return tf.reshape(sums, tf.stack([batch, width]))
