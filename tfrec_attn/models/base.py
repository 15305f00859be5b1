"""The contract of all models: how queries and items become vectors. Everything else is written once, here."""

import inspect
from typing import ClassVar

import numpy as np
import tensorflow as tf
import tensorflow_recommenders as tfrs

from tfrec_attn.layers.dropout import masks_of_step
from tfrec_attn.layers.embedding_table import EmbeddingTable
from tfrec_attn.losses import as_loss
from tfrec_attn.metrics import ranking_metrics
from tfrec_attn.objectives import OBJECTIVES, Distilled, inputs_of, latest, parts_of
from tfrec_attn.optimizers.gradients import add_gradients
from tfrec_attn.optimizers.regularised_step import RegularisedStep
from tfrec_attn.ranking import ranks
from tfrec_attn.untrained import UNTRAINED, pass_over, touched


class SequenceModel(tfrs.Model):
    """A recommender that scores item j by an inner product.

        score(features, j) = query_vectors(features) . item_vectors(j)

    A model is a final subclass with a constructor and these two methods. One that trains at all
    positions of a sequence also has `sequence_vectors`; its query is that of the latest position
    unless it defines `query_vectors` too. The constructor takes `num_users`, `num_items`,
    `max_length` and about ten keywords, keeps each as an attribute of that name, and makes its
    layers, such as `EmbeddingTable`s; `get_config` follows from the signature.

    Features are a dict: "user" int32 [B], 0 is an unknown user; "history" int32 [B, L], items 1..N
    with the latest last and 0 as padding on the left.

    Args:
        num_users: M.
        num_items: N.
        max_length: L, latest items of the history that the model uses.
    """

    # The batches that the model trains on: "windows", "next_items" or "masked_items".
    trains_on = "windows"
    # The training settings that do the model justice, by key, beneath the YAML file and the arguments.
    recommended: ClassVar[dict[str, object]] = {}
    # Whether the query depends on who the user is, not only on the history.
    uses_user = False
    # Whether it depends on the history.
    uses_history = True

    def __init__(self, num_users, num_items, max_length, **kwargs):
        super().__init__(**kwargs)
        self.num_users = num_users
        self.num_items = num_items
        self.max_length = max_length
        self.user_vocabulary = None
        self.item_vocabulary = None
        # Each item's share of the training events, float32 [N]: the answer where nothing is known.
        self.popularity = None
        # Which users, bool [M], and which items, bool [N], training touched; None: all of them.
        self.trained_users = None
        self.trained_items = None
        # Whether items of the history are recommended: "exclude" or "include".
        self.repeats = "exclude"
        # What a step returns is the same on every replica.
        self.distribute_reduction_method = "first"

    def query_vectors(self, features, training=False):
        """Returns queries [B, D'], float32."""
        return self.sequence_vectors(features, training=training)[:, -1]

    def sequence_vectors(self, features, training=False):
        """Returns queries at all positions [B, L, D'], float32.

        A model that trains on next items makes each from the items up to its position; one that
        trains on masked items can use the whole sequence.
        """
        raise NotImplementedError(f"{type(self).__name__} must define query_vectors or sequence_vectors(features, training).")

    def attention(self, features):
        """Returns how much each position of the history weighs in the query, or None without attention.

        float32 [B, L], nonnegative, 0 at padding, for a history of at most `max_length` columns.
        """

    def attention_map(self, features):
        """Returns how much each position attends to each position, or None without attention.

        float32 [B, L, L], nonnegative: row l holds the weights with which position l attends to the
        columns. Rows and columns of padding are 0. For a history of at most `max_length` columns.
        """

    def item_vectors(self, items=None):
        """Vectors of distinct items, int32 [R], or of all items 0..N in order -> float32 [R, D']. Row 0 is padding and means nothing."""
        raise NotImplementedError(f"{type(self).__name__} must define item_vectors(items).")

    def item_columns(self):
        """Returns the tables whose rows are columns of `item_vectors`: {`EmbeddingTable`: first column}.

        An export keeps such a table once, in the matrix of item vectors.
        """
        return {}

    def tables(self, of):
        """Returns the variables of the `EmbeddingTable`s of "users" or of "items"."""
        return [layer.embeddings for layer in self._embeddings(of)]

    def _embeddings(self, *of):
        return [layer for layer in self.submodules if isinstance(layer, EmbeddingTable) and layer.of in of]

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
          loss: name in `tfrec_attn.losses.LOSSES`, a `Loss`, or a function (positive [B, T], negative [B, T, K], mask [B, T]) -> [B].
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
        chosen = as_loss(loss)
        if self.trains_on not in chosen.batches:
            named = loss if isinstance(loss, str) else getattr(chosen.function, "__name__", chosen.function)
            raise ValueError(f"loss {named} takes {' and '.join(chosen.batches)}, but {type(self).__name__} trains on {self.trains_on}.")
        super().compile(optimizer=optimizer, **kwargs)
        distilled = Distilled(distillation, distillation_weight) if distillation is not None else None
        values = {"margin": margin, "calibration": calibration, "log_q": log_q, "num_items": self.num_items}
        keywords = {name: values[value] for name, value in chosen.keywords.items()}
        self._objective = OBJECTIVES[self.trains_on](chosen, reduction, distilled, keywords)
        for table in self._embeddings("items"):
            table.dense_gradients = chosen.negatives == "none"
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
        # A step whose optimizer makes its variables is traced a second time.
        self.optimizer.build(self.trainable_variables)
        return super().make_train_function(force)

    def train_step(self, features):
        """One step; L2, clipping and the row constraints see each touched row once, however many replicas or parts touched it."""
        with masks_of_step(self._seed, self.optimizer.iterations):
            gradients, total, count = self._gradients(features)
        if self._scales_loss():
            gradients = self.optimizer.get_unscaled_gradients(gradients)
        bounds = {table.embeddings.ref(): table.constraint for table in self._embeddings("users", "items")}
        step = RegularisedStep(self.optimizer, bounds, self._l2, self._kernel_l2, self._clip_norm)
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

    def known(self, features):
        """Returns the features that a query is made of, without what training never touched.

        Such a user is an unknown one, and such items are passed over in the history.
        """
        inputs = inputs_of(features)
        if self.uses_user and self.trained_users is not None:
            inputs["user"] = tf.where(touched(self.trained_users, inputs["user"]), inputs["user"], 0)
        if self.trained_items is not None:
            inputs = pass_over(inputs, touched(self.trained_items, inputs["history"]))
        return inputs

    def knows_nothing(self, features):
        """Returns which rows have nothing that the query depends on, so that popularity answers: bool [B].

        What training never touched counts as unknown.
        """
        features = self.known(features)
        nothing = tf.ones_like(features["user"], tf.bool)
        if self.uses_user:
            nothing &= features["user"] == 0
        if self.uses_history:
            nothing &= tf.reduce_all(features["history"] == 0, axis=1)
        return nothing

    def untrained_last(self, scores):
        """Returns scores of the items 1..N, float32 [B, N], with `UNTRAINED` for those that training never touched."""
        return scores if self.trained_items is None else tf.where(self.trained_items, scores, UNTRAINED)

    def _answer_scores(self, features):
        """Scores of the items 1..N by which they are recommended, float32 [B, N]: popularity where nothing is known."""
        scores = tf.matmul(self.queries(features), self.item_vectors()[1:], transpose_b=True)
        if self.popularity is not None:
            nothing, popular = self.knows_nothing(features), tf.cast(self.popularity, scores.dtype)
            scores = tf.cond(tf.reduce_any(nothing), lambda: tf.where(nothing[:, tf.newaxis], popular, scores), lambda: scores)
        return self.untrained_last(scores)

    def recommend(self, histories, k=10, users=None, exclude_seen=None):
        """The k best items for each history.

        Args:
          histories: sequences of item ids, oldest first, of any length, empty too. Ids are raw where the model has vocabularies, else
            1..N; unknown ones, and those that training never touched, are passed over.
          k: items wanted; at most N. Items that training never touched come after all others, each with the score `UNTRAINED`.
          users: ids of the users, or None for unknown users; one that training never touched is unknown too.
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
                latest = (known if self.trained_items is None else known[self.trained_items[known - 1]])[-self.max_length :]
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
        """Returns query vectors [B, D'] of features, of whose `known` columns the latest `max_length` count."""
        # Training meets only what it touches.
        inputs = inputs_of(features) if training else self.known(features)
        return self.query_vectors(latest(inputs, self.max_length), training=training)

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
        return {table.ref(): count for of, count in counts.items() for table in self.tables(of)}
