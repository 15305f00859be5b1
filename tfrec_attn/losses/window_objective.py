"""The training objective of windows."""

import tensorflow as tf

from tfrec_attn.layers.rows import gather_dot
from tfrec_attn.layers.whole_tables import whole_tables
from tfrec_attn.losses.objective import Objective, catalogue_loss, position_loss


class WindowObjective(Objective):
    """The loss of windows; a target 0 is padding.

    Features: "user" [B], "history" [B, L], "targets" [B, T], "negatives" [B, T or 1, K], and
    optionally "sample_weight" [B] with "normalizer" [B], 1 / sum of the weights of the whole batch.
    In a distillation, a window has the same weight as in the loss, divided equally among its items.
    """

    def __call__(self, model, features, training, micro_batches=1):
        queries = model.queries(features, training)
        count = tf.cast(tf.shape(queries)[0], tf.float32)
        sample_weight, weight = features.get("sample_weight"), 1.0
        if self.reduction == "mean":
            replicas = tf.distribute.get_replica_context().num_replicas_in_sync
            weight = (
                tf.math.divide_no_nan(1.0, count * replicas * micro_batches)
                if sample_weight is None
                # The batch of a replica can be empty.
                else tf.reduce_sum(features["normalizer"][:1])
            )
        summed = self._sum_over_scores if self.loss.of == "scores" else self._sum_over_positions
        total = summed(model, queries, features, sample_weight)
        loss = total * weight
        if self.distillation is not None:
            weights = weight if sample_weight is None else weight * sample_weight[:, tf.newaxis]
            loss += self._distillation_loss(model, features["history"], weights, training)
        return loss, total, count if sample_weight is None else tf.reduce_sum(sample_weight)

    def _sum_over_scores(self, model, queries, features, sample_weight):
        """Returns the summed loss of a function of scores."""
        targets, negatives = features["targets"], features["negatives"]
        candidates = tf.concat(
            [targets, tf.reshape(negatives, [tf.shape(negatives)[0], -1])], axis=1
        )
        scores = gather_dot(queries, *_candidate_vectors(model, candidates))
        positive, negative = tf.split(scores, [targets.shape[1], -1], axis=1)
        windows = self.loss.function(
            positive, tf.reshape(negative, tf.shape(negatives)), targets > 0, **self.keywords
        )
        return tf.reduce_sum(windows if sample_weight is None else windows * sample_weight)

    def _sum_over_positions(self, model, queries, features, sample_weight):
        """Returns the summed loss of a function of positions, one for each real target."""
        targets = features["targets"]
        real = tf.where(targets > 0)
        window = real[:, 0]
        if sample_weight is None:
            weights = tf.ones_like(window, tf.float32)
        else:
            weights = tf.gather(sample_weight, window)
        negatives = None
        if self.loss.negatives == "per_target":
            negatives = features["negatives"]
            shape = tf.concat([tf.shape(targets), tf.shape(negatives)[2:]], axis=0)
            negatives = tf.gather_nd(tf.broadcast_to(negatives, shape), real)
        queries, targets = tf.gather(queries, window), tf.gather_nd(targets, real)
        return position_loss(self.loss, self.keywords, model, queries, targets, negatives, weights)

    def _distillation_loss(self, model, history, weight, training):
        real = tf.cast(history > 0, tf.float32)
        weights = tf.broadcast_to(
            weight / tf.reduce_sum(real, axis=1, keepdims=True), tf.shape(history)
        )
        event = tf.where(history > 0)
        terms, remainder = self.distillation.terms(
            model, tf.gather_nd(history, event), tf.gather_nd(weights, event), training
        )
        return catalogue_loss(model, terms, self.softmax_precision) + remainder


def _candidate_vectors(model, items):
    """Returns (item vectors [R, D'], row of each item [B, C]) for some items [B, C]."""
    whole, tables = whole_tables(), model.item_columns()
    if tables and all(table in whole for table in tables):
        with whole.only(items):
            return model.item_vectors(), items
    unique, index = tf.unique(tf.reshape(items, [-1]), tf.int64)
    return model.item_vectors(unique), tf.reshape(index, tf.shape(items))
