"""The contract of all models: how queries and items become vectors. Everything else is written once, here."""

import inspect
import types

import numpy as np
import tensorflow as tf
import tensorflow_recommenders as tfrs

from tfrec_attn import losses
from tfrec_attn.layers.dropout import masks_of_step
from tfrec_attn.layers.rows import unique_rows
from tfrec_attn.layers.unit_ball import UnitBall
from tfrec_attn.metrics import ranking_metrics
from tfrec_attn.objectives import EVERY_POSITION, Distilled, EveryPosition, Pairwise, parts_of
from tfrec_attn.optimizers.gradients import add_gradients
from tfrec_attn.optimizers.regularised_step import RegularisedStep
from tfrec_attn.ranking import ranks


class SequenceModel(tfrs.Model):
    """A recommender that scores item j for a user with a history by an inner product.

        score(user, history, j) = query_vectors(user, history) . item_vectors(j)

    A model is a final subclass with a constructor and the two methods above; a causal one, which can be trained at every position at once,
    has `sequence_vectors`, and its query is that of the latest position (it may define `query_vectors` too, where one position is less
    work than all). The constructor takes `num_users`, `num_items`, `max_length` and about ten keywords, keeps each as an attribute of that
    name, and makes its embedding tables with `add_table`; `get_config` follows from the signature. Users and items are 1..M and 1..N,
    histories [B, L] have the latest item last and 0 as padding on the left, user 0 is an unknown one.

    Args:
      num_users: M.
      num_items: N.
      max_length: L, latest items of the history that the model uses.
    """

    # Whether the query depends on who the user is, not only on the history.
    personal = False

    def __init__(self, num_users, num_items, max_length, **kwargs):
        super().__init__(**kwargs)
        self.num_users = num_users
        self.num_items = num_items
        self.max_length = max_length
        self.user_vocabulary = None
        self.item_vocabulary = None
        # Each item's share of the training events, float32 [N]: the answer where nothing is known.
        self.popularity = None
        # Whether items of the history are recommended: "exclude" or "include".
        self.repeats = "exclude"
        # What a step returns is the same on every replica.
        self.distribute_reduction_method = "first"
        self._tables = types.SimpleNamespace(of={"users": [], "items": []}, constraints={}, shared={})
        self._whole_table = False

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

    def attention(self, user, history):
        """How much each position of the history weighs in the query, or None for a model without attention.

        int32 [B], int32 [B, L] with L at most `max_length` -> float32 [B, L], nonnegative, 0 at padding.
        """

    def item_vectors(self, items=None):
        """Vectors of distinct items, int32 [R], or of all items 0..N in order -> float32 [R, D']. Row 0 is padding and means nothing."""
        raise NotImplementedError(f"{type(self).__name__} must define item_vectors(items).")

    def add_table(self, name, of, depth, stddev, max_norm=None):
        """A table with a row for every user or item, row 0 for padding.

        Args:
          name: of the variable.
          of: "users" or "items".
          depth: D.
          stddev: of the normal distribution that initial values come from.
          max_norm: rows that a step has touched are rescaled to this norm where they exceed it; None leaves them.

        Returns: variable [M + 1, D] or [N + 1, D].

        Errors: ValueError when depth is below 1 or stddev below 0.
        """
        if depth < 1:
            raise ValueError(f"the width of {name} must be at least 1, but is {depth}.")
        if stddev < 0:
            raise ValueError(f"stddev must be at least 0, but is {stddev}.")
        initializer = tf.keras.initializers.RandomNormal(stddev=stddev)
        count = {"users": self.num_users, "items": self.num_items}[of]
        # Read as it is under every precision: the layers that compute in a narrow type cast what they take.
        table = self.add_weight(name=name, shape=(count + 1, depth), initializer=initializer, trainable=True, experimental_autocast=False)
        self._tables.of[of].append(table)
        self._tables.constraints[table.ref()] = UnitBall(max_norm) if max_norm else None
        return table

    def tables(self, of):
        """The tables of "users" or of "items", in the order in which the model made them."""
        return list(self._tables.of[of])

    def share_table(self, table, vectors, column):
        """Lets `look_up` read a table of items in the columns of all item vectors from `column` on, so that it need not be kept twice.

        Args:
          table: of items, [N + 1, D].
          vectors: variable [N + 1, D'], D' >= column + D, whose columns are equal to the table.
          column: the first of them.
        """
        self._tables.shared[table.ref()] = (vectors, column)

    def look_up(self, table, indices):
        """(rows [R, D], int32 like `indices`): rows of a table and where in them each index stands.

        The rows are the distinct ones that the indices name, so that the cost does not depend on the table and its gradient is sparse;
        in training by the softmax over the catalogue they are the whole table, which has a dense gradient anyway.
        """
        if self._tables.shared and table.ref() in self._tables.shared:
            vectors, column = self._tables.shared[table.ref()]
            # The tensor first: a gather from a variable that is also read whole makes TensorFlow copy it on every read.
            rows = tf.gather(tf.convert_to_tensor(vectors), tf.reshape(indices, [-1]))
            return rows[:, column : column + table.shape[1]], tf.reshape(tf.range(tf.size(indices)), tf.shape(indices))
        if self._whole_table:
            return tf.convert_to_tensor(table), indices
        return unique_rows(table, indices)[:2]

    def call(self, features, training=False):
        """Scores of all items: {"user" [B], "history" [B, L]} -> float32 [B, N + 1], column 0 (padding) the lowest float."""
        scores = tf.matmul(self.queries(features, training), self.item_vectors()[1:], transpose_b=True)
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
        log_q=None,
        calibration=0.75,
        clip_norm=None,
        accumulate=1,
        k=(5, 10, 20),
        seed=1,
        **kwargs,
    ):
        """Sets up training and evaluation by full ranking.

        Args:
          optimizer: Keras optimizer or its name.
          loss: a pairwise loss over windows with sampled negatives (`Windows`): "hinge", "bpr", or a function
            (positive [B, T], negative [B, T, K]) -> [B]; or, for models with `sequence_vectors`, a loss at every position (`NextItems`):
            "softmax" over the whole catalogue, "sampled_softmax" with shared negatives, "bce" or "gbce" with negatives of their own.
          margin: of the hinge loss, in units of the score.
          reduction: "sum" (default): the loss of a step is the sum over its windows or positions, as AttRec's authors train; "mean".
          l2: weight of |row|^2 / 2 on the table rows that have a gradient: with pairwise losses those that a step touches, each once.
          kernel_l2: weight of |w|^2 / 2 on all other weights.
          distillation: a `TransitionDistillation` layer, or None; its loss of the input items is added with `distillation_weight`.
          log_q: float [N], logarithm of how often "sampled_softmax" draws each item; default uniform.
          calibration: t of "gbce", 0 is "bce". Default 0.75.
          clip_norm: the gradients of a step are scaled so that the norm of all of them together, L2 included, is at most this; None: never.
          accumulate: parts into which a step cuts its batch; it computes one after the other and applies their gradients once.
          k: cut-offs of the metrics HR@k and NDCG@k; MRR is always there.
          seed: of dropout, whose masks are a function of it and of the steps that the optimizer has done.
        """
        if reduction not in ("sum", "mean"):
            raise ValueError(f"reduction must be one of sum, mean, but is {reduction!r}.")
        if loss in EVERY_POSITION and not self.trains_at_every_position():
            raise ValueError(f"loss {loss} trains every position, which {type(self).__name__} cannot: it has no sequence_vectors.")
        super().compile(optimizer=optimizer, **kwargs)
        distilled = Distilled(distillation, distillation_weight) if distillation is not None else None
        if loss in EVERY_POSITION:
            self._objective = EveryPosition(loss, reduction, distilled, log_q, calibration)
        else:
            self._objective = Pairwise(loss if callable(loss) else losses.pairwise(loss, margin), reduction, distilled)
        self._whole_table = loss == "softmax"
        self._l2, self._kernel_l2, self._clip_norm, self._accumulate = l2, kernel_l2, clip_norm, accumulate
        self._seed = seed
        self._loss_metric = tf.keras.metrics.Mean(name="loss")
        self._ranking_metrics = ranking_metrics(k)

    @property
    def metrics(self):
        return [self._loss_metric, *self._ranking_metrics] if hasattr(self, "_ranking_metrics") else []

    def get_metrics_result(self):
        """What training tells at the end of an epoch, over all replicas."""
        return {"loss": self._loss_metric.result()}

    def compute_loss(self, features, training=False):
        """The loss of a batch, a scalar; see `Windows` and `NextItems` for the features. Padded targets count nothing."""
        return self._objective(self, features, training)[0]

    def make_train_function(self, force=False):
        # Keras traces a step twice if the optimizer makes its variables in it.
        self.optimizer.build(self.trainable_variables)
        return super().make_train_function(force)

    def train_step(self, features):
        """One step; L2, clipping and the row constraints see each touched row once, however many replicas or parts touched it."""
        with masks_of_step(self._seed, self.optimizer.iterations):
            gradients, total, count = self._gradients(features)
        if self._scales_loss():
            gradients = self.optimizer.get_unscaled_gradients(gradients)
        step = RegularisedStep(self.optimizer, self._tables.constraints, self._l2, self._kernel_l2, self._clip_norm)
        step(gradients, self.trainable_variables, self._ids(features))
        self._loss_metric.update_state(total / count, sample_weight=count)
        return {"loss": self._loss_metric.result()}

    def test_step(self, features):
        """Ranks {"user", "history", "target", "seen"} against the full catalogue."""
        ranks_ = self.ranks(features)
        for metric in self._ranking_metrics:
            metric.update_state(ranks_)
        return {metric.name: metric.result() for metric in self._ranking_metrics}

    def ranks(self, features):
        """Rank of each target among the items that can be recommended (`tfrec_attn.ranking.ranks`), int32 [B]."""
        return ranks(self._answer_scores(features), features["target"], features["seen"])

    def _answer_scores(self, features):
        """Scores of the items 1..N by which they are recommended, float32 [B, N]: popularity where nothing is known."""
        scores = tf.matmul(self.queries(features), self.item_vectors()[1:], transpose_b=True)
        if self.popularity is None:
            return scores
        nothing = tf.reduce_all(features["history"] == 0, axis=1)
        if self.personal:
            nothing &= features["user"] == 0
        popular = tf.cast(self.popularity, scores.dtype)
        return tf.cond(tf.reduce_any(nothing), lambda: tf.where(nothing[:, tf.newaxis], popular, scores), lambda: scores)

    def recommend(self, histories, k=10, users=None, exclude_seen=None):
        """The k best items for each history.

        Args:
          histories: sequences of item ids, oldest first, of any length, empty too. Ids are raw where the model has vocabularies, else
            1..N; unknown ones are passed over.
          k: items wanted; at most N.
          users: ids of the users, or None for unknown users.
          exclude_seen: leave out the items of the history; None follows `repeats`.

        Returns:
          (items, scores): lists of up to k ids and of their scores for each history, best first.
        """
        encoded = [known[known > 0] for known in (self._indices(history, self.item_vocabulary) for history in histories)]
        user = np.zeros(len(encoded), np.int32) if users is None else self._indices(users, self.user_vocabulary)
        if len(user) != len(encoded):
            raise ValueError(f"users must name one user for each history, but has {len(user)} for {len(encoded)} histories.")
        k, exclude_seen = min(k, self.num_items), self.repeats == "exclude" if exclude_seen is None else exclude_seen
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
        scores = self._answer_scores({"user": user, "history": history})
        scores = tf.pad(scores, [[0, 0], [1, 0]], constant_values=scores.dtype.min)
        rows = tf.repeat(tf.range(tf.shape(seen)[0]), tf.shape(seen)[1])
        index = tf.stack([rows, tf.reshape(seen, [-1])], axis=1)
        scores = tf.tensor_scatter_nd_update(scores, index, tf.fill([tf.size(seen)], scores.dtype.min))
        return tf.math.top_k(scores, k)

    def queries(self, features, training=False):
        """Query vectors [B, D'] of {"user", "history"}, of whose history the latest `max_length` columns count."""
        return self.query_vectors(features["user"], features["history"][:, -self.max_length :], training=training)

    @staticmethod
    def _indices(ids, vocabulary):
        return np.asarray(ids, np.int32) if vocabulary is None else vocabulary.lookup([str(one) for one in ids])

    def _decode(self, indices):
        return indices.tolist() if self.item_vocabulary is None else self.item_vocabulary.ids(indices)

    def _scales_loss(self):
        return isinstance(self.optimizer, tf.keras.mixed_precision.LossScaleOptimizer)

    def _gradients(self, features):
        """(gradients of the scaled loss, summed loss, number of examples) of a replica's batch, taken in parts one after the other."""
        gradients, totals, counts = [], [], []
        for part in parts_of(features, self._accumulate, whole=self._objective.shared):
            # Each part waits for the gradients of the one before, so that the activations of one part are in memory at a time.
            with tf.control_dependencies([one for one in tf.nest.flatten(gradients, expand_composites=True) if one is not None]):
                with tf.GradientTape() as tape:
                    loss, total, count = self._objective(self, part, True, self._accumulate)
                    loss = self.optimizer.get_scaled_loss(loss) if self._scales_loss() else loss
                found = tape.gradient(loss, self.trainable_variables)
                gradients = add_gradients(gradients, found) if gradients else found
            totals.append(total)
            counts.append(count)
        return gradients, tf.add_n(totals), tf.add_n(counts)

    def _ids(self, features):
        """Reference of each table -> how many ids a batch names of it over all replicas, repeated ones counted."""
        replicas = tf.distribute.get_replica_context().num_replicas_in_sync
        sizes = {name: (value.shape.num_elements() or 0) * replicas for name, value in features.items() if value.dtype.is_integer}
        counts = {"users": sizes.pop("user"), "items": sum(sizes.values())}
        return {table.ref(): counts[of] for of, tables in self._tables.of.items() for table in tables}
