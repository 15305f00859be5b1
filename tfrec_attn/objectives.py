"""What a step of training minimises: how a batch and a model's vectors become a loss.

An objective is called with (model, features, training, parts) and returns (loss to minimise, summed loss of the examples, their number).
The features may be one replica's and one of several parts of its batch: weights come with the batch or from its static size, so that
replicas need not ask each other for counts; the losses of all replicas and parts add up to that of the whole batch. Features that are
named in `shared` belong to all examples of a batch and stay whole when it is taken in parts.
"""

import itertools
import math

import tensorflow as tf

from tfrec_attn import losses
from tfrec_attn.layers.rows import gather_dot, without_padding

EVERY_POSITION = ("softmax", "sampled_softmax", "bce", "gbce")

# Half of the sequences of most logs are short and few are long: shares of a batch at which its sequences, by length, are cut into groups.
_LENGTH_QUANTILES = (0.5, 0.75, 0.9)


def parts_of(features, count, whole):
    """A batch in `count` equal parts, one after the other; the features named in `whole` go with each.

    Errors: ValueError when the batch cannot be cut into equal parts.
    """
    if count == 1:
        return [features]
    rows = features["user"].shape[0]
    if rows is not None and rows % count:
        raise ValueError(f"accumulate must divide the examples of a batch on each replica, {rows}, but is {count}.")
    cut = {key: [value] * count if key in whole else tf.split(value, count) for key, value in features.items()}
    return [{key: values[part] for key, values in cut.items()} for part in range(count)]


class Distilled:
    """Distillation of transitions into item vectors, as an addition to any objective.

    Args:
      layer: a `TransitionDistillation`.
      weight: of its loss.
    """

    def __init__(self, layer, weight):
        self.layer = layer
        self.weight = weight

    def terms(self, model, items, weights, training):
        """Of input items [P] with weights [P], those that their positions have in the loss: ((queries, targets, weights), rest)."""
        queries, targets, weights, rest = self.layer.softmax_terms(items, model.item_vectors(), weights, training)
        return (queries, targets, self.weight * weights), self.weight * rest


class Pairwise:
    """Windows with sampled negatives: {"user" [B], "history" [B, L], "targets" [B, T], "negatives" [B, T or 1, K]}.

    Where they also have an "importance" [B], each window counts so many times; "weight" [B] is then one over its sum over the whole batch.

    Args:
      function: (positive [B, T], negative [B, T or 1, K]) -> [B].
      reduction: "sum" or "mean" over the windows.
      distilled: a `Distilled`, or None; each window weighs as in the loss, and each item of a window the same.
    """

    shared = ()

    def __init__(self, function, reduction, distilled):
        self.function = function
        self.reduction = reduction
        self.distilled = distilled

    def __call__(self, model, features, training, parts=1):
        targets, negatives = features["targets"], features["negatives"]
        candidates = tf.concat([targets, tf.reshape(negatives, [tf.shape(negatives)[0], -1])], axis=1)
        distinct, local = tf.unique(tf.reshape(candidates, [-1]))
        queries = model.queries(features, training)
        scores = gather_dot(queries, model.item_vectors(distinct), tf.reshape(local, tf.shape(candidates)))
        positive, negative = tf.split(scores, [targets.shape[1], -1], axis=1)
        # A padded target is infinitely far ahead, so that its pairs are lost nothing on.
        positive += tf.where(targets > 0, 0.0, tf.float32.max)
        windows = self.function(positive, tf.reshape(negative, tf.shape(negatives)))
        replicas, count = tf.distribute.get_replica_context().num_replicas_in_sync, tf.cast(tf.size(windows), tf.float32)
        importance, mean = features.get("importance"), 1.0 / (count * replicas * parts)
        if importance is not None:
            windows, count, mean = windows * importance, tf.reduce_sum(importance), features["weight"][0]
        weight = 1.0 if self.reduction == "sum" else mean
        loss = tf.reduce_sum(windows) * weight
        if self.distilled is not None:
            weights = weight if importance is None else weight * importance[:, tf.newaxis]
            loss += self._distilled(model, features["history"], weights, training)
        return loss, tf.reduce_sum(windows), count

    def _distilled(self, model, history, weight, training):
        real = history > 0
        weights = tf.broadcast_to(weight / tf.reduce_sum(tf.cast(real, tf.float32), axis=1, keepdims=True), tf.shape(history))
        terms, rest = self.distilled.terms(model, tf.boolean_mask(history, real), tf.boolean_mask(weights, real), training)
        return _catalogue_loss(model, [terms]) + rest


class EveryPosition:
    """Sequences of which every position trains: {"user" [B], "history" [B, L], "targets" [B, L], "weight" [B]}, and "negatives".

    Where they also have an "importance" [B, L], each position counts so many times.

    Args:
      loss: "softmax" over the catalogue; "sampled_softmax", whose "negatives" [B, K] the whole batch shares; "bce" or "gbce", whose
        "negatives" [B, L, K] belong to their positions.
      reduction: "sum" over the positions, or "mean", by the weights of the batch.
      distilled: a `Distilled`, or None; it goes through the same pass over the catalogue as "softmax".
      log_q: float [N], logarithm of how often "sampled_softmax" draws each item; None: uniform.
      calibration: t of "gbce".
    """

    def __init__(self, loss, reduction, distilled, log_q=None, calibration=0.75):
        self.loss = loss
        self.reduction = reduction
        self.distilled = distilled
        self.log_q = log_q
        self.calibration = calibration
        self.shared = ("negatives",) if loss == "sampled_softmax" else ()

    def __call__(self, model, features, training, parts=1):
        queries, items, targets, used, *negatives = self._real_positions(model, features, training)
        terms, rest = [], 0.0
        if self.distilled is not None:
            distilled, rest = self.distilled.terms(model, items, used, training)
            terms.append(distilled)
        if self.loss == "softmax":
            terms.append((queries, targets - 1, used))
        else:
            negatives = negatives[0] if negatives else tf.reshape(features["negatives"], [-1])
            rest += self._sampled_loss(model, queries, targets, negatives, used)
        loss = _catalogue_loss(model, terms) + rest if terms else rest
        return loss, loss, tf.reduce_sum(used)

    def _sampled_loss(self, model, queries, targets, negatives, weights):
        distinct, local = tf.unique(tf.concat([targets, tf.reshape(negatives, [-1])], axis=0))
        rows = model.item_vectors(distinct)
        target, negative = tf.split(local, [tf.size(targets), -1])
        negative = tf.reshape(negative, tf.shape(negatives))
        if self.loss == "sampled_softmax":
            uniform = tf.fill([tf.size(distinct)], -math.log(model.num_items))
            log_q = uniform if self.log_q is None else tf.gather(self.log_q, distinct - 1)
            return losses.sampled_softmax(queries, rows, target, negative, log_q, weights)
        if self.loss == "bce":
            return losses.bce(queries, rows, target, negative, weights)
        return losses.gbce(queries, rows, target, negative, model.num_items, self.calibration, weights)

    def _real_positions(self, model, features, training):
        """Queries [P, D'], input items [P], targets [P], weights [P] in the loss and own negatives [P, K] of the positions with an item.

        Sequences are taken in a few groups of similar length, each cropped to its longest, so that little padding is computed. Which
        sequences a batch holds does not depend on their length.
        """
        user, history = features["user"], features["history"]
        lengths = tf.reduce_sum(tf.cast(history > 0, tf.int32), axis=1)
        order = tf.argsort(lengths)
        counted = self._counted(features)
        rows = history.shape[0]
        cuts = [int(rows * share) for share in _LENGTH_QUANTILES] if rows else []
        groups = []
        for begin, end in itertools.pairwise([0, *(cut for cut in cuts if cut), None]):
            chosen = order[begin:end]
            longest = tf.maximum(tf.reduce_max(tf.gather(lengths, chosen)), 1)
            cropped = tf.gather(history, chosen)[:, -longest:]
            vectors = model.sequence_vectors(tf.gather(user, chosen), cropped, training=training)
            parts = [vectors, cropped, *(tf.gather(one, chosen)[:, -longest:] for one in (features["targets"], counted))]
            if self.loss in ("bce", "gbce"):
                parts.append(tf.gather(features["negatives"], chosen)[:, -longest:])
            groups.append([tf.boolean_mask(part, cropped > 0) for part in parts])
        return [tf.concat(parts, axis=0) for parts in zip(*groups, strict=True)]

    def _counted(self, features):
        """What each position counts in the loss [B, L]."""
        weights = tf.broadcast_to(features["weight"][:, tf.newaxis], tf.shape(features["targets"]))
        weights = weights if self.reduction == "mean" else tf.ones_like(weights)
        return weights * features["importance"] if "importance" in features else weights


def _catalogue_loss(model, terms):
    """Softmax loss over the catalogue of several (queries, targets from 0, weights) in one pass."""
    queries, targets, weights = (tf.concat(parts, axis=0) for parts in zip(*terms, strict=True))
    return losses.softmax(queries, without_padding(model.item_vectors()), targets, weights)
