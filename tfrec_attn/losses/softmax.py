"""Exact cross entropy over the whole catalogue, computed in tiles."""

import math

import tensorflow as tf

from tfrec_attn.losses.arguments import checked

# Logits in memory at once for a small catalogue: fewer are slower, more are not faster
# (benchmarks/softmax.py).
TILE = 2**22

# A reference is at most this far below the logit of a target: losses below exp(-32) are inexact.
_BELOW_TARGET = 24.0
# Smaller shares are inexact, or 0.
_SMALLEST_SHARE = 1e-30


def softmax(queries, items, targets, weights=None, tile=None, gradients=True):
    """Returns the exact cross entropy over the whole catalogue.

        loss = sum over p of weights[p] (ln sum_j exp(q_p . v_j) - q_p . v_target)

    A tile is the logits of some positions for all items. The forward pass computes the loss and
    both gradients of one tile after the other, by three matrix products; the backward pass scales
    these gradients. There is no second derivative.

    Args:
        queries: Float [P, D]; P may be 0.
        items: Float [N, D], N > 0; a variable gets a dense gradient.
        targets: Int [P], rows of `items`.
        weights: Float [P]; default 1 / P. Their gradient is the loss of each position.
        tile: Largest number of logits in memory, at least 1; N where it is smaller. Default: 2**22
            or N * D, the larger. The gradients aside, memory is twice the tile.
        gradients: False computes no gradients, in a third of the time; the result is a constant.

    Returns:
        float32 scalar.

    Raises:
        ValueError: If an argument has another number of axes or another width, the catalogue is
            empty, or `tile` is below 1.
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
        # Without stop_gradient an eager tape keeps every tile.
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
    """Returns losses [P], and gradients of their weighted sum to queries and items, or None."""
    positions, count = tf.shape(queries)[0], tf.shape(items)[0]
    rows = (
        tf.maximum(TILE // count, tf.shape(items)[1])
        if tile is None
        else tf.maximum(min(tile, tf.int32.max) // count, 1)
    )
    # Tiles of equal size, with less than one row of padding for each; padding has weight 0.
    tiles = tf.maximum(-(-positions // rows), 1)
    rows = -(-positions // tiles)

    def split(x):
        sizes = tf.shape(x)[1:]
        # tf.pad has no GPU kernel for int64.
        padding = tf.zeros(tf.concat([[tiles * rows - positions], sizes], axis=0), x.dtype)
        padded = tf.concat([x, padding], axis=0)
        return tf.reshape(padded, tf.concat([[tiles, rows], sizes], axis=0))

    def join(parts):
        stacked = parts.stack()
        return tf.reshape(stacked, tf.concat([[tiles * rows], tf.shape(stacked)[2:]], axis=0))[
            :positions
        ]

    targets = tf.cast(targets, tf.int64)
    rows_of_targets = tf.gather(items, targets)
    own, reference, spread = _references(queries, items, rows_of_targets)
    weighted = weights[:, tf.newaxis] * queries
    parts = [split(x) for x in (queries, targets, own, reference, weighted)]

    def body(i, gaps, placeholders, means, to_items):
        query, target, own, reference, weighted = (part[i] for part in parts)
        shares, share, reference = _shares(query, items, target, reference, spread)
        gap = reference - own + tf.math.log1p(-share) - tf.math.log(share)
        scale = tf.math.divide_no_nan(tf.sigmoid(gap), 1.0 - share)
        gaps, placeholders = gaps.write(i, gap), placeholders.write(i, scale * share)
        if gradients:
            scale = scale[:, tf.newaxis]
            means = means.write(i, scale * tf.matmul(shares, items))
            to_items += tf.matmul(scale * weighted, shares, transpose_a=True)
        return i + 1, gaps, placeholders, means, to_items

    gaps, placeholders, means = (
        tf.TensorArray(tf.float32, size) for size in (tiles, tiles, tiles if gradients else 0)
    )
    # The product is faster as [D, N].
    to_items = tf.zeros([tf.shape(items)[1], count]) if gradients else 0.0
    # One tile at a time to limit the memory; each product uses all cores.
    _, gaps, placeholders, means, to_items = tf.while_loop(
        lambda i, *_: i < tiles,
        body,
        (0, gaps, placeholders, means, to_items),
        parallel_iterations=1,
    )
    gap = join(gaps)
    losses = tf.nn.softplus(gap)
    if not gradients:
        return losses, None, None
    # The sums have the placeholder instead of the target, whose probability less 1 is -sigmoid.
    excess = (tf.sigmoid(gap) + join(placeholders))[:, tf.newaxis]
    to_items = tf.tensor_scatter_nd_sub(
        tf.transpose(to_items), targets[:, tf.newaxis], excess * weighted
    )
    return losses, weights[:, tf.newaxis] * (join(means) - excess * rows_of_targets), to_items


def _references(queries, items, rows_of_targets):
    """Returns logits for `_shares`.

    Returns:
        (logits of the targets [P], references [P], whether a reference can be too low, int32 []).
    """
    others = tf.cast(tf.maximum(tf.shape(items)[0] - 1, 1), tf.float32)
    total = tf.reduce_sum(items, axis=0)
    own = tf.einsum("pd,pd->p", queries, rows_of_targets)
    # By Jensen's inequality this is at most the logarithm of the others' sum.
    least = tf.math.log(others) + (tf.linalg.matvec(queries, total) - own) / others
    squares = (tf.square(queries), tf.math.squared_difference(items, total / (others + 1.0)))
    norms = [tf.sqrt(tf.reduce_max(tf.reduce_sum(each, axis=1))) for each in squares]
    spread = norms[0] * norms[1] * (1.0 + 1.0 / others) > -math.log(_SMALLEST_SHARE)
    # An int32 is beside the counter of the loop in the memory of the host: a GPU does not stop for
    # it in each tile.
    return own, tf.maximum(least, own - _BELOW_TARGET), tf.cast(spread, tf.int32)


def _shares(query, items, target, reference, spread):
    """Returns the softmax of a tile with a reference in place of each target's logit.

    The probability of a target near 1 does not tell its loss: 1 - 1e-9 is 1 in float32. The share s
    of a reference r tells the sum over the others, which is exact unless s is close to 0 or 1:

        ln sum over the others exp(l_j) = r + ln(1 - s) - ln s

    Args:
        query: [R, D].
        items: [N, D].
        target: int64 [R].
        reference: [R].
        spread: Whether a share can be too small; it is computed from the logits again then, by one
            more product, with the highest of the others' logits as reference.

    Returns:
        (shares [R, N], those of the references [R], references [R]).
    """
    column = tf.stack([tf.range(tf.shape(target, tf.int64)[0]), target], axis=1)

    def logits():
        products = tf.matmul(query, items, transpose_b=True)
        return tf.tensor_scatter_nd_update(products, column, reference)

    def of(logits, reference):
        shares = tf.nn.softmax(logits)
        return shares, tf.gather_nd(shares, column), reference

    def again():
        lower = logits()
        highest = tf.reduce_max(lower, axis=1)
        return of(tf.tensor_scatter_nd_update(lower, column, highest), highest)

    found = of(logits(), reference)
    too_small = tf.cond(
        spread > 0,
        lambda: tf.reduce_any(found[1] < _SMALLEST_SHARE),
        lambda: tf.constant(False),
    )
    return tf.cond(too_small, again, lambda: found)
