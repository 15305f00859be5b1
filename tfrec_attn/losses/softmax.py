"""Exact cross entropy over the whole catalogue, in tiles."""

import tensorflow as tf

from tfrec_attn.losses.arguments import checked

# Logits in memory at once, where the catalogue is small: fewer slow the products down, more do not
# speed them up (benchmarks/softmax.py).
TILE = 2**22


def softmax(queries, items, targets, weights=None, tile=None, gradients=True):
    """Exact cross entropy over the whole catalogue.

        loss = sum over p of weights[p] (ln sum_j exp(q_p . v_j) - q_p . v_target)

    Logits exist for one tile of positions x all items at a time, and both gradients are made while
    the tile is there, so that three matrix products do for the loss and its gradients. The way back
    only scales them, and has no gradient of its own.

    Args:
      queries: float [P, D]; P may be 0.
      items: float [N, D], N > 0; a variable gets a dense gradient.
      targets: int [P], rows of `items`.
      weights: float [P]; default 1 / P. Their gradient is the loss of each position.
      tile: most logits to hold, at least 1, though never less than one position's N. Default: 2**22
        or, in a large catalogue, as many as `items` has numbers (with fewer positions at a time the
        products slow down). Memory is twice the tile beside the gradients.
      gradients: False leaves the gradients out, which takes a third of the time: the result is then
          a constant.

    Returns:
      float32 scalar.

    Errors: ValueError for other numbers of axes, another width of items, an empty catalogue, or a
    tile below 1.
    """
    items = tf.convert_to_tensor(items)
    queries, targets, weights = checked(queries, items, targets, weights)
    if items.shape[0] == 0:
        raise ValueError("items must have at least one row, but has none.")
    if tile is not None and tile < 1:
        raise ValueError(f"tile must be at least 1, but is {tile}.")
    items = tf.cast(items, tf.float32)
    if not gradients:
        queries, items, weights = map(tf.stop_gradient, (queries, items, weights))
        return tf.reduce_sum(
            weights * _tiled_softmax(queries, items, targets, weights, tile, gradients=False)[0]
        )

    @tf.custom_gradient
    def total(queries, items, weights):
        # An eager tape would keep every tile of what is computed from the arguments themselves.
        constants = (
            tf.stop_gradient(queries),
            tf.stop_gradient(items),
            targets,
            tf.stop_gradient(weights),
        )
        losses, to_queries, to_items = _tiled_softmax(*constants, tile, gradients=True)
        return tf.reduce_sum(constants[3] * losses), lambda upstream: (
            upstream * to_queries,
            upstream * to_items,
            upstream * losses,
        )

    return total(queries, items, weights)


def _tiled_softmax(queries, items, targets, weights, tile, gradients):
    """Losses [P] and, of their weighted sum, the gradients to queries and items (None where left
    out).
    """
    positions, count = tf.shape(queries)[0], tf.shape(items)[0]
    rows = (
        tf.maximum(TILE // count, tf.shape(items)[1])
        if tile is None
        else tf.maximum(min(tile, tf.int32.max) // count, 1)
    )
    # Tiles of one size, so that fewer rows than there are tiles are padding; they have weight 0.
    tiles = tf.maximum(-(-positions // rows), 1)
    rows = -(-positions // tiles)

    def split(x):
        padded = tf.pad(x, [[0, tiles * rows - positions]] + [[0, 0]] * (len(x.shape) - 1))
        return tf.reshape(padded, tf.concat([[tiles, rows], tf.shape(x)[1:]], axis=0))

    def join(parts):
        stacked = parts.stack()
        return tf.reshape(stacked, tf.concat([[tiles * rows], tf.shape(stacked)[2:]], axis=0))[
            :positions
        ]

    weighted = weights[:, tf.newaxis] * queries
    parts = [split(x) for x in (queries, targets, weighted)]

    def body(i, losses, means, to_items):
        query, target, weighted = (part[i] for part in parts)
        probability = tf.nn.softmax(tf.matmul(query, items, transpose_b=True))
        losses = losses.write(
            i, _negative_log(tf.gather(probability, target, batch_dims=1), query, items, target)
        )
        if gradients:
            means = means.write(i, tf.matmul(probability, items))
            to_items += tf.matmul(weighted, probability, transpose_a=True)
        return i + 1, losses, means, to_items

    losses, means = (
        tf.TensorArray(tf.float32, tiles),
        tf.TensorArray(tf.float32, tiles if gradients else 0),
    )
    # [D, N]: this way round the product is faster.
    to_items = tf.zeros([tf.shape(items)[1], count]) if gradients else 0.0
    # One tile at a time: this bounds the memory, and each product uses all cores by itself.
    _, losses, means, to_items = tf.while_loop(
        lambda i, *_: i < tiles, body, (0, losses, means, to_items), parallel_iterations=1
    )
    if not gradients:
        return join(losses), None, None
    to_items = tf.tensor_scatter_nd_sub(tf.transpose(to_items), targets[:, tf.newaxis], weighted)
    return (
        join(losses),
        weights[:, tf.newaxis] * (join(means) - tf.gather(items, targets)),
        to_items,
    )


def _negative_log(probability, query, items, target):
    """-ln of the targets' probabilities [R]; where one is too small for float32, all from the
    logits, which takes a product more.
    """

    def from_logits():
        logits = tf.matmul(query, items, transpose_b=True)
        return tf.reduce_logsumexp(logits, axis=1) - tf.gather(logits, target, batch_dims=1)

    return tf.cond(
        tf.reduce_all(probability > 1e-30), lambda: -tf.math.log(probability), from_logits
    )
