"""The contract of all models: how queries and items become vectors. Everything else is written once, here."""

import inspect
import itertools
import types

import numpy as np
import tensorflow as tf
import tensorflow_recommenders as tfrs

from tfrec_attn import losses
from tfrec_attn.layers.rows import gather_dot
from tfrec_attn.layers.unit_ball import UnitBall
from tfrec_attn.metrics import ranking_metrics
from tfrec_attn.ranking import ranks

# Half of the sequences of most logs are short and few are long: shares of a batch at which its sequences, by length, are cut into groups.
_LENGTH_QUANTILES = (0.5, 0.75, 0.9)


class SequenceModel(tfrs.Model):
    """A recommender that scores item j for a user with a history by an inner product.

        score(user, history, j) = query_vectors(user, history) . item_vectors(j)

    A model is a final subclass with a constructor and the two methods above; a causal one, which can be trained at every position at once,
    has `sequence_vectors` in place of `query_vectors`, and its query is that of the latest position. The constructor takes `num_users`,
    `num_items`, `max_length` and about ten keywords, keeps each as an attribute of that name, and makes its embedding tables with
    `add_table`; `get_config` follows from the signature. Users and items are 1..M and 1..N, histories [B, L] have the latest item last and
    0 as padding on the left, user 0 is an unknown one.

    Args:
      num_users: M.
      num_items: N.
      max_length: L, latest items of the history that the model uses.
    """

    def __init__(self, num_users, num_items, max_length, **kwargs):
        super().__init__(**kwargs)
        self.num_users = num_users
        self.num_items = num_items
        self.max_length = max_length
        self.user_vocabulary = None
        self.item_vocabulary = None
        self._tables = types.SimpleNamespace(constraints={})

    def query_vectors(self, user, history, training=False):
        """Queries of users with histories: int32 [B], int32 [B, L] -> float32 [B, D']."""
        return self.sequence_vectors(user, history, training=training)[:, -1]

    def sequence_vectors(self, user, history, training=False):
        """Queries at every position, each made from the items up to it: int32 [B], int32 [B, L] -> float32 [B, L, D']."""
        raise NotImplementedError(f"{type(self).__name__} must define query_vectors or sequence_vectors(user, history, training).")

    @classmethod
    def trains_at_every_position(cls):
        """Whether the model is causal, so that one pass over a sequence trains all its positions."""
        return cls.sequence_vectors is not SequenceModel.sequence_vectors

    def item_vectors(self, items=None):
        """Vectors of distinct items, int32 [R], or of all items 0..N in order -> float32 [R, D']. Row 0 is padding and means nothing."""
        raise NotImplementedError(f"{type(self).__name__} must define item_vectors(items).")

    def add_table(self, name, count, depth, stddev, max_norm=None):
        """A table of `count` + 1 rows, row 0 for padding.

        Args:
          name: of the variable.
          count: rows that mean something.
          depth: D.
          stddev: of the normal distribution that initial values come from.
          max_norm: rows that a step has touched are rescaled to this norm where they exceed it; None leaves them.

        Returns: variable [count + 1, D].

        Errors: ValueError when depth is below 1 or stddev below 0.
        """
        if depth < 1:
            raise ValueError(f"the width of {name} must be at least 1, but is {depth}.")
        if stddev < 0:
            raise ValueError(f"stddev must be at least 0, but is {stddev}.")
        initializer = tf.keras.initializers.RandomNormal(stddev=stddev)
        table = self.add_weight(name=name, shape=(count + 1, depth), initializer=initializer, trainable=True)
        self._tables.constraints[table.ref()] = UnitBall(max_norm) if max_norm else None
        return table

    def call(self, features, training=False):
        """Scores of all items: {"user" [B], "history" [B, L]} -> float32 [B, N + 1], column 0 (padding) the lowest float."""
        scores = tf.matmul(self._queries(features, training), self.item_vectors()[1:], transpose_b=True)
        return tf.pad(scores, [[0, 0], [1, 0]], constant_values=scores.dtype.min)

    def compile(
        self,
        optimizer="adagrad",
        loss="hinge",
        *,
        margin=0.5,
        reduction="sum",
        l2=0.0,
        kernel_l2=0.0,
        distillation=None,
        distillation_weight=0.0,
        k=(5, 10, 20),
        **kwargs,
    ):
        """Sets up training and evaluation by full ranking.

        Args:
          optimizer: Keras optimizer or its name.
          loss: a pairwise loss over windows with sampled negatives (`Windows`): "hinge", "bpr", or a function
            (positive [B, T], negative [B, T, K]) -> [B]; or "softmax" over the whole catalogue at every position (`NextItems`), for models
            with `sequence_vectors`.
          margin: of the hinge loss, in units of the score.
          reduction: "sum" (default): the loss of a step is the sum over its windows or positions, as AttRec's authors train; "mean".
          l2: weight of |row|^2 / 2 on the table rows that have a gradient: with pairwise losses those that a step touches, each once.
          kernel_l2: weight of |w|^2 / 2 on all other weights.
          distillation: a `TransitionDistillation` layer, or None; its loss of the input items is added with `distillation_weight`.
          k: cut-offs of the metrics HR@k and NDCG@k; MRR is always there.
        """
        if reduction not in ("sum", "mean"):
            raise ValueError(f"reduction must be one of sum, mean, but is {reduction!r}.")
        if loss == "softmax" and not self.trains_at_every_position():
            raise ValueError(f"loss softmax trains every position, which {type(self).__name__} cannot: it has no sequence_vectors.")
        super().compile(optimizer=optimizer, **kwargs)
        self._objective = self._softmax_objective if loss == "softmax" else self._pairwise_objective
        self._pairwise = None if loss == "softmax" else loss if callable(loss) else losses.pairwise(loss, margin)
        self._reduction, self._l2, self._kernel_l2 = reduction, l2, kernel_l2
        self._distillation, self._distillation_weight = distillation, distillation_weight
        self._loss_metric = tf.keras.metrics.Mean(name="loss")
        self._ranking_metrics = ranking_metrics(k)

    @property
    def metrics(self):
        return [self._loss_metric, *self._ranking_metrics] if hasattr(self, "_ranking_metrics") else []

    def compute_loss(self, features, training=False):
        """The loss of a batch, a scalar; see `Windows` and `NextItems` for the features. Padded targets count nothing."""
        return self._objective(features, training)[0]

    def train_step(self, features):
        """One step; L2 and the row constraints see each touched row once, however many replicas touched it."""
        with tf.GradientTape() as tape:
            loss, mean = self._objective(features, training=True)
            scaled = self.optimizer.get_scaled_loss(loss) if self._scales_loss() else loss
        gradients = tape.gradient(scaled, self.trainable_variables)
        if self._scales_loss():
            gradients = self.optimizer.get_unscaled_gradients(gradients)
        self._apply(gradients)
        self._loss_metric.update_state(mean)
        return {"loss": self._loss_metric.result()}

    def test_step(self, features):
        """Ranks {"user", "history", "target", "seen"} against the full catalogue."""
        ranks_ = self.ranks(features)
        for metric in self._ranking_metrics:
            metric.update_state(ranks_)
        return {metric.name: metric.result() for metric in self._ranking_metrics}

    def ranks(self, features):
        """Rank of each target among the unseen items (`tfrec_attn.ranking.ranks`), int32 [B]."""
        return ranks(tf.matmul(self._queries(features), self.item_vectors()[1:], transpose_b=True), features["target"], features["seen"])

    def recommend(self, histories, k=10, users=None, exclude_seen=True):
        """The k best items for each history.

        Args:
          histories: sequences of item ids, oldest first, of any length, empty too. Ids are raw where the model has vocabularies, else
            1..N; unknown ones are passed over.
          k: items wanted; at most N.
          users: ids of the users, or None for unknown users.
          exclude_seen: leave out the items of the history.

        Returns:
          (items, scores): lists of up to k ids and of their scores for each history, best first.
        """
        encoded = [known[known > 0] for known in (self._indices(history, self.item_vocabulary) for history in histories)]
        user = np.zeros(len(encoded), np.int32) if users is None else self._indices(users, self.user_vocabulary)
        if len(user) != len(encoded):
            raise ValueError(f"users must name one user for each history, but has {len(user)} for {len(encoded)} histories.")
        k = min(k, self.num_items)
        items, scores = [], []
        for begin in range(0, len(encoded), 256):
            block = encoded[begin : begin + 256]
            history = np.zeros((len(block), self.max_length), np.int32)
            seen = np.zeros((len(block), max(map(len, block), default=0)), np.int32)
            for row, known in enumerate(block):
                latest = known[-self.max_length :]
                history[row, self.max_length - len(latest) :] = latest
                seen[row, : len(known)] = known if exclude_seen else 0
            values, indices = self._top_k(tf.constant(user[begin : begin + 256]), tf.constant(history), tf.constant(seen), tf.constant(k))
            for row_values, row_indices in zip(values.numpy(), indices.numpy(), strict=True):
                real = row_values > np.finfo(np.float32).min
                items.append(self._decode(row_indices[real]))
                scores.append(row_values[real].tolist())
        return items, scores

    def get_config(self):
        names = [name for name in inspect.signature(type(self).__init__).parameters if name not in ("self", "kwargs")]
        return {name: getattr(self, name) for name in names}

    @classmethod
    def from_config(cls, config):
        return cls(**config)

    @tf.function(reduce_retracing=True)
    def _top_k(self, user, history, seen, k):
        scores = self({"user": user, "history": history})
        rows = tf.repeat(tf.range(tf.shape(seen)[0]), tf.shape(seen)[1])
        index = tf.stack([rows, tf.reshape(seen, [-1])], axis=1)
        scores = tf.tensor_scatter_nd_update(scores, index, tf.fill([tf.size(seen)], scores.dtype.min))
        return tf.math.top_k(scores, k)

    def _queries(self, features, training=False):
        return self.query_vectors(features["user"], features["history"][:, -self.max_length :], training=training)

    @staticmethod
    def _indices(ids, vocabulary):
        return np.asarray(ids, np.int32) if vocabulary is None else vocabulary.lookup([str(one) for one in ids])

    def _decode(self, indices):
        return indices.tolist() if self.item_vocabulary is None else self.item_vocabulary.ids(indices)

    def _scales_loss(self):
        return isinstance(self.optimizer, tf.keras.mixed_precision.LossScaleOptimizer)

    def _pairwise_objective(self, features, training):
        """(loss to minimise on this replica, mean loss of its windows)."""
        targets, negatives, history = features["targets"], features["negatives"], features["history"]
        candidates = tf.concat([targets, tf.reshape(negatives, [tf.shape(negatives)[0], -1])], axis=1)
        distinct, local = tf.unique(tf.reshape(candidates, [-1]))
        scores = gather_dot(self._queries(features, training), self.item_vectors(distinct), tf.reshape(local, tf.shape(candidates)))
        positive, negative = tf.split(scores, [targets.shape[1], -1], axis=1)
        infinity = tf.where(targets > 0, 0.0, tf.float32.max)
        windows = self._pairwise(positive + infinity, tf.reshape(negative, tf.shape(negatives)))
        share = 1.0 / tf.cast(tf.size(windows) * tf.distribute.get_replica_context().num_replicas_in_sync, tf.float32)
        loss = tf.reduce_sum(windows) * (1.0 if self._reduction == "sum" else share)
        if self._distillation is not None:
            real = history > 0
            weights = tf.broadcast_to(share / tf.reduce_sum(tf.cast(real, tf.float32), axis=1, keepdims=True), tf.shape(history))
            loss += self._catalogue_loss(*self._distilled(tf.boolean_mask(history, real), tf.boolean_mask(weights, real), training))
        return loss, tf.reduce_mean(windows)

    def _softmax_objective(self, features, training):
        """(loss to minimise on this replica, the same for each position).

        The weights come with the batch, so that replicas need not ask each other for counts.
        """
        queries, items, targets, weights = self._real_positions(features, training)
        used = weights if self._reduction == "mean" else tf.ones_like(weights)
        terms = [(queries, targets - 1, used)]
        rest = 0.0
        if self._distillation is not None:
            *distilled, rest = self._distilled(items, weights, training)
            terms.append(distilled)
        loss = self._catalogue_loss(*(tf.concat(parts, axis=0) for parts in zip(*terms, strict=True)), rest)
        return loss, loss / tf.reduce_sum(used)

    def _distilled(self, items, weights, training):
        """The distillation of input items [P] with weights [P] as terms of `_catalogue_loss`."""
        queries, targets, weights, rest = self._distillation.softmax_terms(items, self.item_vectors(), weights, training)
        return queries, targets, self._distillation_weight * weights, self._distillation_weight * rest

    def _catalogue_loss(self, queries, targets, weights, rest):
        return losses.softmax(queries, self.item_vectors()[1:], targets, weights) + rest

    def _real_positions(self, features, training):
        """Queries [P, D'], input items [P], targets [P] and weights [P] of the positions that hold an item.

        Sequences are taken in a few groups of similar length, each cropped to its longest, so that little padding is computed.
        """
        user, history, targets = features["user"], features["history"], features["targets"]
        lengths = tf.reduce_sum(tf.cast(history > 0, tf.int32), axis=1)
        order = tf.argsort(lengths)
        rows = history.shape[0] or 0
        bounds = [0, *(int(rows * share) for share in _LENGTH_QUANTILES if int(rows * share)), None] if rows else [0, None]
        groups = []
        for begin, end in itertools.pairwise(bounds):
            chosen = order[begin:end]
            longest = tf.maximum(tf.reduce_max(tf.gather(lengths, chosen)), 1)
            cropped = tf.gather(history, chosen)[:, -longest:]
            real = cropped > 0
            vectors = self.sequence_vectors(tf.gather(user, chosen), cropped, training=training)
            following = tf.gather(targets, chosen)[:, -longest:]
            weights = tf.broadcast_to(tf.gather(features["weight"], chosen)[:, tf.newaxis], tf.shape(cropped))
            groups.append([tf.boolean_mask(each, real) for each in (vectors, cropped, following, weights)])
        return [tf.concat(parts, axis=0) for parts in zip(*groups, strict=True)]

    def _apply(self, gradients):
        replicas = tf.distribute.get_replica_context().num_replicas_in_sync
        variables = self.trainable_variables
        constraints = self._tables.constraints
        needed = [v.ref() in constraints and bool(self._l2 or constraints[v.ref()]) for v in variables]
        rows = [_touched_rows(gradient) if need else None for gradient, need in zip(gradients, needed, strict=True)]
        penalised = [self._penalised(*each, replicas) for each in zip(gradients, variables, rows, strict=True)]
        self.optimizer.apply_gradients(zip(penalised, variables, strict=True))
        for variable, touched in zip(variables, rows, strict=True):
            if touched is not None and constraints[variable.ref()] is not None:
                constraints[variable.ref()].project_rows(variable, touched)

    def _penalised(self, gradient, variable, rows, replicas):
        """Gradient plus that of L2, divided so that the sum over the replicas holds it once."""
        weight = (self._l2 if variable.ref() in self._tables.constraints else self._kernel_l2) / replicas
        if not weight:
            return gradient
        if rows is None:
            return gradient + weight * variable
        indices = tf.concat([gradient.indices, tf.cast(rows, gradient.indices.dtype)], axis=0)
        values = tf.concat([gradient.values, weight * tf.gather(variable, rows)], axis=0)
        return tf.IndexedSlices(values, indices, gradient.dense_shape)


def _touched_rows(gradient):
    """Distinct rows of a sparse gradient on any replica, or None for a dense one."""
    if not isinstance(gradient, tf.IndexedSlices):
        return None
    context, rows = tf.distribute.get_replica_context(), gradient.indices
    if context.num_replicas_in_sync > 1:
        rows = context.all_gather(rows, axis=0)
    return tf.unique(rows)[0]
