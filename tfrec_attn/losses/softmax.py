"""Exact cross entropy over the whole catalogue, computed in tiles."""

import functools

import tensorflow as tf

from tfrec_attn.losses.arguments import checked

# Number of logits in memory for a small catalogue. Fewer are slower, and more are not faster
# (benchmarks/softmax.py).
TILE = 2**22

# Between these, the logarithm of a float32 probability is exact to 1e-4.
_LEAST, _MOST = 1e-30, 0.999


def softmax(
    queries,
    items,
    targets,
    weights=None,
    tile=None,
    gradients=True,
    products="float32",
):
    """Returns the exact cross entropy over the whole catalogue.

        loss = sum over p of weights[p] (ln sum_j exp(q_p . v_j) - q_p . v_target)

    A tile holds the logits of some positions for all items. The forward pass computes the loss and
    both gradients of one tile after the other, with three matrix products for each tile. The
    backward pass scales these gradients. There is no second derivative.

    Args:
        queries: Float [P, D]; P may be 0.
        items: Float [N, D], N > 0; a variable gets a dense gradient.
        targets: Int [P], rows of `items`.
        weights: Float [P]; default 1 / P. Their gradient is the loss of each position.
        tile: Largest number of logits in memory, at least 1. A tile always has the N logits of one
            position. Default: the larger of 2**22 and N * D. Without the gradients, the loss needs
            twice the memory of a tile.
        gradients: Whether to compute gradients. False takes a third of the time, and the result
            is a constant. Default True.
        products: Type of the factors and the results of the matrix products: "float32" (default)
            or "bfloat16". Everything else is in float32: exponentials and other sums, the loss, the
            part of the gradients that comes from the target of a position, and the returned
            gradients.

    Returns:
        float32 scalar.

    Raises:
        ValueError: If an argument has another number of axes or another width, the catalogue is
            empty, `tile` is below 1, or `products` is another type.
    """
    items = tf.convert_to_tensor(items)
    queries, targets, weights = checked(queries, items, targets, weights)
    if items.shape[0] == 0:
        raise ValueError("items must have at least one row, but has none.")
    if tile is not None and tile < 1:
        raise ValueError(f"tile must be at least 1, but is {tile}.")
    if products not in ("float32", "bfloat16"):
        raise ValueError(f"products must be float32 or bfloat16, but is {products!r}.")
    items = tf.cast(items, tf.float32)
    if not gradients:
        queries, items, weights = map(tf.stop_gradient, (queries, items, weights))
        losses, *_ = _tiled_softmax(queries, items, targets, weights, tile, False, products)
        return tf.reduce_sum(weights * losses)

    @tf.custom_gradient
    def total(queries, items, weights):
        # Without stop_gradient an eager tape keeps every tile.
        constants = (
            tf.stop_gradient(queries),
            tf.stop_gradient(items),
            targets,
            tf.stop_gradient(weights),
        )
        losses, to_queries, to_items = _tiled_softmax(*constants, tile, True, products)

        def gradient(upstream):
            gradients = to_queries, to_items, losses
            # This saves a pass over the table.
            if tf.get_static_value(upstream) == 1.0:
                return gradients
            return [upstream * one for one in gradients]

        return tf.reduce_sum(constants[3] * losses), gradient

    return total(queries, items, weights)


def _tiled_softmax(queries, items, targets, weights, tile, gradients, products):
    """Returns losses [P], and the gradients of their weighted sum by queries and items, or None."""
    positions, count = tf.shape(queries)[0], tf.shape(items)[0]
    rows = (
        tf.maximum(TILE // count, tf.shape(items)[1])
        if tile is None
        else tf.maximum(min(tile, tf.int32.max) // count, 1)
    )
    # The tiles have equal size, with less than one row of padding each. Padding has the weight 0.
    tiles = tf.maximum(-(-positions // rows), 1)
    rows = -(-positions // tiles)
    targets = tf.cast(targets, tf.int64)
    weighted = weights[:, tf.newaxis] * queries
    parts = [_split(x, tiles, rows) for x in (queries, targets, weighted)]
    to_float32, to_products = (
        functools.partial(tf.cast, dtype=one) for one in ("float32", products)
    )
    vectors = to_products(items)

    def body(i, of_targets, mean_items, to_items):
        query, target, weighted = (part[i] for part in parts)
        probability = tf.nn.softmax(
            to_float32(tf.matmul(to_products(query), vectors, transpose_b=True))
        )
        of_target = tf.gather(probability, target, batch_dims=1)
        of_targets = of_targets.write(i, of_target)
        if gradients:
            if products != "float32":
                # Without another reader, the tile is updated in place.
                with tf.control_dependencies([of_target]):
                    none = tf.zeros_like(of_target)
                    probability = tf.tensor_scatter_nd_update(probability, _entries(target), none)
            probability = to_products(probability)
            mean_items = mean_items.write(i, to_float32(tf.matmul(probability, vectors)))
            to_items += to_float32(tf.matmul(to_products(weighted), probability, transpose_a=True))
        return i + 1, of_targets, mean_items, to_items

    of_targets, mean_items = (
        tf.TensorArray(tf.float32, size) for size in (tiles, tiles if gradients else 0)
    )
    # The product is faster as [D, N].
    to_items = tf.zeros([tf.shape(items)[1], count]) if gradients else 0.0
    # One tile at a time to limit the memory; each product uses all cores.
    _, of_targets, mean_items, to_items = tf.while_loop(
        lambda i, *_: i < tiles, body, (0, of_targets, mean_items, to_items), parallel_iterations=1
    )
    of_targets = _join(of_targets.stack(), positions)
    losses = _negative_log(of_targets, parts[:2], items)
    if not gradients:
        return losses, None, None
    # In float32 the products include the probabilities of the targets. In bfloat16 they leave them
    # out, because the rounding error of a probability near 1 exceeds all other probabilities.
    missing = 1.0 if products == "float32" else (1.0 - of_targets)[:, tf.newaxis]
    to_items = tf.tensor_scatter_nd_sub(
        tf.transpose(to_items), targets[:, tf.newaxis], missing * weighted
    )
    mean_items = _join(mean_items.stack(), positions) - missing * tf.gather(items, targets)
    return losses, weights[:, tf.newaxis] * mean_items, to_items


def _entries(targets):
    """Returns the indices of the targets in a tile, [rows, 2]."""
    return tf.stack([tf.range(tf.shape(targets, tf.int64)[0]), targets], axis=1)


def _split(x, tiles, rows):
    """Returns a tensor [P, ...] as tiles [tiles, rows, ...], padded with zeros."""
    sizes = tf.shape(x)[1:]
    # tf.pad has no GPU kernel for int64.
    padding = tf.zeros(tf.concat([[tiles * rows - tf.shape(x)[0]], sizes], axis=0), x.dtype)
    return tf.reshape(tf.concat([x, padding], axis=0), tf.concat([[tiles, rows], sizes], axis=0))


def _join(parts, positions):
    """Returns tiles [tiles, rows, ...] as [P, ...]."""
    return tf.reshape(parts, tf.concat([[-1], tf.shape(parts)[2:]], axis=0))[:positions]


def _negative_log(probability, parts, items):
    """Returns -ln of the targets' probabilities [P].

    If a probability is too small for float32, or if all are so close to 1 that the losses are not
    exact, all losses are computed from the logits, with one more product for each tile:

        loss = softplus(ln sum over the other items exp(l_j) - l_target)
    """

    def of_tile(part):
        query, target = part
        logits = tf.matmul(query, items, transpose_b=True)
        column = _entries(target)
        lowest = tf.fill(tf.shape(target), tf.float32.min)
        others = tf.reduce_logsumexp(tf.tensor_scatter_nd_update(logits, column, lowest), axis=1)
        return tf.math.softplus(others - tf.gather_nd(logits, column))

    def from_logits():
        spec = tf.TensorSpec([None], tf.float32)
        # One tile at a time to limit the memory.
        found = tf.map_fn(of_tile, tuple(parts), parallel_iterations=1, fn_output_signature=spec)
        return _join(found, tf.shape(probability)[0])

    lost = tf.reduce_any(probability < _LEAST) | tf.reduce_all(probability > _MOST)
    return tf.cond(lost, from_logits, lambda: -tf.math.log(probability))
