"""Losses.

The pairwise ones are pure functions of scores (high is good), one value per example: they take positives [B, T] and negatives [B, T, K]
(each positive has its own) or [B, 1, K] (all positives share them), and sum over the pairs of an example: [B].

The catalogue losses take the hidden states at the positions to train, `queries` [P, D], the rows of the catalogue, `items` [N, D], and the
row that is right at each position, `targets` int [P]. Each returns one float32 number, the sum over positions of weight times loss;
`weights` [P] are 1 / P where none are given, so that it is the mean. Narrow types are computed in float32.
"""

import tensorflow as tf

# Logits in memory at once, where the catalogue is small: fewer slow the products down, more do not speed them up (benchmarks/softmax.py).
TILE = 2**22


def hinge(positive, negative, margin=0.5):
    """`sum relu(margin - positive + negative)`.

    On distances y = -score this is `sum relu(y_pos + margin - y_neg)` (Zhang et al., 2019, eq. 10; Weinberger and Saul, 2009).
    """
    return _sum_pairs(tf.nn.relu(margin - _difference(positive, negative)))


def bpr(positive, negative):
    """`sum -ln sigmoid(positive - negative)` (Rendle et al., UAI 2009)."""
    return _sum_pairs(tf.nn.softplus(-_difference(positive, negative)))


def pairwise(name, margin=0.5):
    """The pairwise loss of a name, as a function of (positive, negative).

    Errors: ValueError for another name.
    """
    if name == "hinge":
        return lambda positive, negative: hinge(positive, negative, margin)
    if name == "bpr":
        return bpr
    raise ValueError(f"loss must be one of hinge, bpr, but is {name!r}.")


def softmax(queries, items, targets, weights=None, tile=None, gradients=True):
    """Exact cross entropy over the whole catalogue.

        loss = sum over p of weights[p] (ln sum_j exp(q_p . v_j) - q_p . v_target)

    Logits exist for one tile of positions x all items at a time, and both gradients are made while the tile is there, so that three matrix
    products do for the loss and its gradients. The way back only scales them, and has no gradient of its own.

    Args:
      queries: float [P, D]; P may be 0.
      items: float [N, D], N > 0; a variable gets a dense gradient.
      targets: int [P], rows of `items`.
      weights: float [P]; default 1 / P. Their gradient is the loss of each position.
      tile: most logits to hold, at least 1, though never less than one position's N. Default: 2**22 or, in a large catalogue, as many as
        `items` has numbers (with fewer positions at a time the products slow down). Memory is twice the tile beside the gradients.
      gradients: False leaves the gradients out, which takes a third of the time: the result is then a constant.

    Returns:
      float32 scalar.

    Errors: ValueError for other numbers of axes, another width of items, an empty catalogue, or a tile below 1.
    """
    items = tf.convert_to_tensor(items)
    queries, targets, weights = _checked(queries, items, targets, weights)
    if items.shape[0] == 0:
        raise ValueError("items must have at least one row, but has none.")
    if tile is not None and tile < 1:
        raise ValueError(f"tile must be at least 1, but is {tile}.")
    items = tf.cast(items, tf.float32)
    if not gradients:
        queries, items, weights = map(tf.stop_gradient, (queries, items, weights))
        return tf.reduce_sum(weights * _tiled_softmax(queries, items, targets, weights, tile, gradients=False)[0])

    @tf.custom_gradient
    def total(queries, items, weights):
        # An eager tape would keep every tile of what is computed from the arguments themselves.
        constants = (tf.stop_gradient(queries), tf.stop_gradient(items), targets, tf.stop_gradient(weights))
        losses, to_queries, to_items = _tiled_softmax(*constants, tile, gradients=True)
        return tf.reduce_sum(constants[3] * losses), lambda upstream: (upstream * to_queries, upstream * to_items, upstream * losses)

    return total(queries, items, weights)


def sampled_softmax(queries, items, targets, negatives, log_q=None, weights=None, correct_targets=True):
    """Cross entropy over the target and K sampled items, with logits corrected for how often each item is sampled.

        loss = sum over p of weights[p] (ln (exp(l_target) + sum_k exp(l_k)) - l_target),    l_j = q_p . v_j - ln(K Q_j)

    A negative that is the position's own target is left out (an accidental hit). Time and memory do not depend on N.

    With the correction of the targets the model that fits the data best has the logits of the full softmax (Jean et al., 2015; the form of
    `tf.nn.sampled_softmax_loss`; Yi et al., 2019), but the loss is lower than the full one. Without it the sum over k estimates the full
    sum over the other items without bias, so that loss and gradients tend to those of `softmax` as K grows (Bengio and Senecal, 2008).

    Args:
      queries: float [P, D].
      items: float [N, D]; a variable gets a sparse gradient.
      targets: int [P], rows of `items`.
      negatives: int [K], rows of `items` drawn from Q, shared by all positions.
      log_q: float [N], ln Q_j; default uniform, Q_j = 1 / N.
      weights: float [P]; default 1 / P.
      correct_targets: False leaves l_target = q_p . v_target.

    Returns:
      float32 scalar.

    Errors: ValueError for other numbers of axes or another width of items.

    References: Bengio and Senecal, IEEE Transactions on Neural Networks 2008; Jean et al., ACL 2015; Yi et al., RecSys 2019.
    """
    queries, targets, weights = _checked(queries, items, targets, weights)
    negatives = _with_axes("negatives", negatives, ["K"])
    log_q = None if log_q is None else _with_axes("log_q", log_q, ["N"])
    true = tf.einsum("pd,pd->p", queries, _rows(items, targets))
    sampled = tf.matmul(queries, _rows(items, negatives), transpose_b=True) - _log_count(negatives, items, negatives, log_q)
    if correct_targets:
        true -= _log_count(targets, items, negatives, log_q)
    hit = tf.equal(tf.cast(targets, tf.int64)[:, tf.newaxis], tf.cast(negatives, tf.int64))
    sampled = tf.where(hit, tf.float32.min, sampled)
    return tf.reduce_sum(weights * (tf.reduce_logsumexp(tf.concat([true[:, tf.newaxis], sampled], axis=1), axis=1) - true))


def bce(queries, items, targets, negatives, weights=None):
    """Binary cross entropy of the target and K sampled items, SASRec's loss (Kang and McAuley, ICDM 2018, with K = 1).

        loss = sum over p of weights[p] (-ln s(q_p . v_target) - sum_k ln(1 - s(q_p . v_k))),    s(x) = 1 / (1 + exp(-x))

    Args:
      queries: float [P, D].
      items: float [N, D]; a variable gets a sparse gradient.
      targets: int [P], rows of `items`.
      negatives: int [P, K], rows of `items`, each position's own.
      weights: float [P]; default 1 / P.

    Returns:
      float32 scalar.

    Errors: ValueError for other numbers of axes or another width of items.
    """
    return _binary(queries, items, targets, negatives, 1.0, weights)


def gbce(queries, items, targets, negatives, num_items, t=0.75, weights=None):
    """Generalised binary cross entropy, gSASRec's loss: the positive counts less, as much as sampling makes scores overconfident.

        loss = sum over p of weights[p] (-beta ln s(q_p . v_target) - sum_k ln(1 - s(q_p . v_k)))
        beta = alpha (t (1 - 1 / alpha) + 1 / alpha) = 1 - t (1 - alpha),    alpha = K / (num_items - 1)

    With t = 0 this is `bce`; with t = 1 sigmoids of scores are calibrated as probabilities. The authors' code divides the sum by K + 1.

    Args:
      queries, items, targets, negatives, weights: as for `bce`.
      num_items: how many items negatives are drawn from, the target among them; at least 2.
      t: calibration, from 0 to 1; the paper finds 0.75 good with 256 negatives.

    Returns:
      float32 scalar.

    Errors: ValueError for other numbers of axes, another width of items, fewer than two items, or t outside 0 to 1.

    Reference: Petrov and Macdonald, RecSys 2023.
    """
    if num_items < 2:
        raise ValueError(f"num_items must be at least 2, but is {num_items}.")
    if not 0 <= t <= 1:
        raise ValueError(f"t must be from 0 to 1, but is {t}.")
    negatives = _with_axes("negatives", negatives, ["P", "K"])
    alpha = tf.cast(tf.shape(negatives)[1], tf.float32) / (num_items - 1)
    return _binary(queries, items, targets, negatives, 1.0 - t * (1.0 - alpha), weights)


def _tiled_softmax(queries, items, targets, weights, tile, gradients):
    """Losses [P] and, of their weighted sum, the gradients to queries and items (None where left out)."""
    positions, count = tf.shape(queries)[0], tf.shape(items)[0]
    rows = tf.maximum(TILE // count, tf.shape(items)[1]) if tile is None else tf.maximum(min(tile, tf.int32.max) // count, 1)
    # Tiles of one size, so that fewer rows than there are tiles are padding; they have weight 0.
    tiles = tf.maximum(-(-positions // rows), 1)
    rows = -(-positions // tiles)

    def split(x):
        padded = tf.pad(x, [[0, tiles * rows - positions]] + [[0, 0]] * (len(x.shape) - 1))
        return tf.reshape(padded, tf.concat([[tiles, rows], tf.shape(x)[1:]], axis=0))

    def join(parts):
        stacked = parts.stack()
        return tf.reshape(stacked, tf.concat([[tiles * rows], tf.shape(stacked)[2:]], axis=0))[:positions]

    weighted = weights[:, tf.newaxis] * queries
    parts = [split(x) for x in (queries, targets, weighted)]

    def body(i, losses, means, to_items):
        query, target, weighted = (part[i] for part in parts)
        probability = tf.nn.softmax(tf.matmul(query, items, transpose_b=True))
        losses = losses.write(i, _negative_log(tf.gather(probability, target, batch_dims=1), query, items, target))
        if gradients:
            means = means.write(i, tf.matmul(probability, items))
            to_items += tf.matmul(weighted, probability, transpose_a=True)
        return i + 1, losses, means, to_items

    losses, means = tf.TensorArray(tf.float32, tiles), tf.TensorArray(tf.float32, tiles if gradients else 0)
    # [D, N]: this way round the product is faster.
    to_items = tf.zeros([tf.shape(items)[1], count]) if gradients else 0.0
    # One tile at a time: this bounds the memory, and each product uses all cores by itself.
    _, losses, means, to_items = tf.while_loop(lambda i, *_: i < tiles, body, (0, losses, means, to_items), parallel_iterations=1)
    if not gradients:
        return join(losses), None, None
    to_items = tf.tensor_scatter_nd_sub(tf.transpose(to_items), targets[:, tf.newaxis], weighted)
    return join(losses), weights[:, tf.newaxis] * (join(means) - tf.gather(items, targets)), to_items


def _negative_log(probability, query, items, target):
    """-ln of the targets' probabilities [R]; where one is too small for float32, all from the logits, which takes a product more."""

    def from_logits():
        logits = tf.matmul(query, items, transpose_b=True)
        return tf.reduce_logsumexp(logits, axis=1) - tf.gather(logits, target, batch_dims=1)

    return tf.cond(tf.reduce_all(probability > 1e-30), lambda: -tf.math.log(probability), from_logits)


def _binary(queries, items, targets, negatives, beta, weights):
    queries, targets, weights = _checked(queries, items, targets, weights)
    negatives = _with_axes("negatives", negatives, ["P", "K"])
    positive = tf.einsum("pd,pd->p", queries, _rows(items, targets))
    negative = tf.einsum("pd,pkd->pk", queries, _rows(items, negatives))
    return tf.reduce_sum(weights * (beta * tf.nn.softplus(-positive) + tf.reduce_sum(tf.nn.softplus(negative), axis=1)))


def _rows(items, indices):
    return tf.cast(tf.gather(items, indices), tf.float32)


def _log_count(rows, items, negatives, log_q):
    """Logarithm of how often rows are expected among the negatives."""
    total = tf.math.log(tf.cast(tf.shape(negatives)[0], tf.float32))
    if log_q is None:
        return total - tf.math.log(tf.cast(tf.shape(items)[0], tf.float32))
    return total + tf.cast(tf.gather(log_q, rows), tf.float32)


def _checked(queries, items, targets, weights):
    """Queries and weights in float32, the weights 1 / P where none are given, and targets, as tensors."""
    queries, targets = _with_axes("queries", queries, ["P", "D"]), _with_axes("targets", targets, ["P"])
    if len(items.shape) != 2:
        raise ValueError(f"items must have the shape [N, D], but has {items.shape}.")
    if queries.shape[1] != items.shape[1] and None not in (queries.shape[1], items.shape[1]):
        raise ValueError(f"queries and items must have the same width, but have {queries.shape[1]} and {items.shape[1]}.")
    if weights is None:
        positions = tf.shape(queries)[:1]
        weights = tf.fill(positions, 1.0 / tf.cast(tf.maximum(positions[0], 1), tf.float32))
    return tf.cast(queries, tf.float32), targets, tf.cast(_with_axes("weights", weights, ["P"]), tf.float32)


def _with_axes(name, value, axes):
    value = tf.convert_to_tensor(value)
    if len(value.shape) != len(axes):
        raise ValueError(f"{name} must have the shape [{', '.join(axes)}], but has {value.shape}.")
    return value


def _difference(positive, negative):
    return tf.cast(positive[:, :, tf.newaxis], tf.float32) - tf.cast(negative, tf.float32)


def _sum_pairs(pairs):
    return tf.reduce_sum(pairs, axis=[1, 2])
